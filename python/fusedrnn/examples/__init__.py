"""The systems of the documents, each a short program that reads from top to bottom; ``fusedrnn run NAME`` runs one.

=================  ====================================================================
file               holds
=================  ====================================================================
``system``         what they share: settings as options, the run's folder
``device``         where a system computes
``demo``           ``fusedrnn demo``: a character LSTM against n-grams on real text
``datasets``       where real data comes from
``joined_kernel``  how the cells of TensorFlow 1 start
``by_hand``        cells by their equations
``agreement``      how far layers are from those, and from the oracle
``sensitivities``  the equations of real-time recurrent learning
``sentences``      what the classifiers of sentences share
others             one system each; ``SYSTEMS`` has them by name
=================  ====================================================================
"""

from __future__ import annotations

from fusedrnn.examples import binary, cells, charlm, forward, iris, mnist, ptb, ptb_reader, rcnn, rtrl, sine, textrnn
from fusedrnn.examples.system import System

SYSTEMS: dict[str, System] = {
    module.SYSTEM.name: module.SYSTEM
    for module in (
        forward,
        cells,
        rtrl,
        ptb_reader,
        ptb,
        iris,
        sine,
        textrnn,
        rcnn,
        binary,
        mnist,
        charlm,
    )
}

__all__ = ["SYSTEMS", "System"]
