"""Texts, vocabularies and samplers: from a file to batches of ids."""

from __future__ import annotations

from fusedrnn.data.documentation import documentation_split, documentation_text
from fusedrnn.data.ptb import PtbData, ptb_producer, ptb_raw_data
from fusedrnn.data.samplers import Batch, ConsecutiveSampler, RandomSampler, Sampler
from fusedrnn.data.text import read_text
from fusedrnn.data.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "ConsecutiveSampler",
    "PtbData",
    "RandomSampler",
    "Sampler",
    "Vocabulary",
    "documentation_split",
    "documentation_text",
    "ptb_producer",
    "ptb_raw_data",
    "read_text",
]
