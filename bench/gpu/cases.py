"""What is timed on a GPU, and in which order: a run that ends early has seen cells, sizes and numbers of every kind.

Every case has as many inputs as hidden units and is named after its sizes, ``h512-b32-t100``; with ``-packed`` every
row has a length of its own, drawn evenly from [T/10, T].
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fusedrnn.bench.cases import Case, Workload

# In "tf32" arrays are float32, and factors of products may be rounded to TF32.
DTYPES = ("float32", "tf32", "bfloat16", "float16", "float64")
# How late sizes come: the sum decides.
CELL_RANK = {"lstm": 0, "gru": 1, "rnn": 2}
HIDDEN_RANK = {512: 0, 128: 0, 1024: 1, 256: 2, 2048: 2, 64: 3}
ROWS_RANK = {32: 0, 1: 0, 64: 1, 256: 1, 8: 3}
STEPS_RANK = {100: 0, 1000: 1}
DTYPE_RANK = {"float32": 0, "tf32": 0, "bfloat16": 0, "float16": 1, "float64": 4}
PACKED_SIZES = ((256, 64, 100), (512, 64, 100), (512, 64, 1000), (1024, 64, 1000))
# Sizes that the floors name and the grid lacks.
FLOOR_SIZES = ((768, 16, 100), (2048, 16, 100))
OTHER_RANK = 1
_NAME = re.compile(r"h([1-9]\d{0,4})-b([1-9]\d{0,4})-t([1-9]\d{0,4})(-packed)?")


def make_case(hidden: int, rows: int, steps: int, packed: bool = False) -> Case:
    """A case by its sizes."""
    name = f"h{hidden}-b{rows}-t{steps}" + ("-packed" if packed else "")
    return Case(name, steps, rows, hidden, hidden, ragged=packed)


def case_named(name: str) -> Case | None:
    """The case of a name, which need not be in the table; None where it is no name of a case.

    Examples
    --------
    >>> case_named("h512-b32-t100").sizes
    '100,32,512,512'
    >>> case_named("h0-b1-t1") is None
    True
    """
    found = _NAME.fullmatch(name)
    return make_case(int(found[1]), int(found[2]), int(found[3]), packed=bool(found[4])) if found else None


def _ranked() -> dict[Case, int]:
    """Every case of the table and how late it comes."""
    ranks = {
        make_case(hidden, rows, steps): HIDDEN_RANK[hidden] + ROWS_RANK[rows] + STEPS_RANK[steps]
        for steps in STEPS_RANK
        for rows in ROWS_RANK
        for hidden in HIDDEN_RANK
    }
    ranks |= {make_case(*sizes, packed=True): OTHER_RANK for sizes in PACKED_SIZES}
    return ranks | {make_case(*sizes): OTHER_RANK for sizes in FLOOR_SIZES}


CASES = _ranked()


def workloads(
    cells: Sequence[str], dtypes: Sequence[str], modes: Sequence[str], cases: Sequence[Case] | None = None
) -> list[list[Workload]]:
    """What to time, the most telling first: for each cell, case and type of number the workloads of all modes.

    With `cases` these, in their order; None: the table.

    Examples
    --------
    >>> found = workloads(["lstm", "gru"], ["float32"], ["inference", "training"])
    >>> [workload.label for workload in found[0]]
    ['lstm h512-b32-t100 inference', 'lstm h512-b32-t100 training']
    """
    chosen = [(case, cell, dtype) for case in (CASES if cases is None else cases) for cell in cells for dtype in dtypes]
    if cases is None:
        chosen = [found for found in chosen if found[1] == "lstm" or not _only_for_floors(found[0])]
        chosen.sort(key=lambda found: CASES[found[0]] + CELL_RANK[found[1]] + DTYPE_RANK[found[2]])
    return [[Workload(case, cell, mode, dtype) for mode in modes] for case, cell, dtype in chosen]


def _only_for_floors(case: Case) -> bool:
    return (case.hidden, case.rows, case.steps) in FLOOR_SIZES
