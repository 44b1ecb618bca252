"""Data goes one way: what includes and imports what, in csrc, in src and in the package."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# ---- C++: a folder includes itself and the folders listed ------------------------------------------------------------

BELOW = {
    "csrc/contract": [],
    "csrc/cells": ["contract"],
    "csrc/optimisers": ["contract"],
    "csrc/cpu": ["contract", "cells", "optimisers"],
    "csrc/cuda": ["contract", "cells", "optimisers"],
}
KERNEL_SOURCES = {"kernels.cpp", "optimiser_kernels.cpp"}
SYSTEM_HEADERS = {"immintrin.h", "pthread.h", "sched.h", "sys/mman.h"}
CUDA_HEADERS = {"cuda_bf16.h", "cuda_fp16.h", "cuda_pipeline_primitives.h", "cuda_runtime.h"}


def code_files(root: Path, *folders: str) -> list[Path]:
    return sorted(
        path for folder in folders for path in (root / folder).rglob("*") if path.suffix in (".h", ".cpp", ".cu")
    )


def included(path: Path) -> list[str]:
    """What a file includes, with its quotes or brackets."""
    return re.findall(r'^\s*#\s*include\s*(<[^>]+>|"[^"]+")', path.read_text(), re.MULTILINE)


def folders_of_csrc_include_what_lies_below(root: Path) -> Iterator[str]:
    for folder, below in BELOW.items():
        allowed = tuple(f'"{name}/' for name in (folder.removeprefix("csrc/"), *below))
        for path in code_files(root, folder):
            for name in included(path):
                if name.startswith('"') and not name.startswith(allowed):
                    yield f"{path.relative_to(root)} -> {name}"


def csrc_consists_of_these_folders(root: Path) -> Iterator[str]:
    for path in code_files(root, "csrc"):
        if str(path.parent.relative_to(root)) not in BELOW:
            yield f"{path.relative_to(root)} -> no rule for its folder"


def csrc_needs_the_standard_library_alone(root: Path) -> Iterator[str]:
    """So it knows neither Python nor pybind11."""
    for path in code_files(root, "csrc"):
        for name in included(path):
            if (
                name.startswith("<")
                and not re.fullmatch(r"<[a-z_0-9]+>", name)
                and name[1:-1] not in SYSTEM_HEADERS | CUDA_HEADERS
            ):
                yield f"{path.relative_to(root)} -> {name}"


def cells_compute_with_the_value_type_alone(root: Path) -> Iterator[str]:
    """The registry apart, a cell names no number type, no library and no instruction."""
    for path in code_files(root, "csrc/cells"):
        for name in included(path):
            if name.startswith("<"):
                yield f"{path.relative_to(root)} -> {name}"
        code = re.sub(r"//.*", "", path.read_text())
        for word in re.findall(r"\b(?:float|double|Vec|std::\w+|_mm\w+|__m\w+)", code):
            yield f"{path.relative_to(root)} -> {word}"


def each_folder_of_src_binds_its_own_backend(root: Path) -> Iterator[str]:
    """What is in src/cuda knows nothing of csrc/cpu, and the rest nothing of csrc/cuda."""
    for path in code_files(root, "src"):
        other = "cpu" if path.parent.name == "cuda" else "cuda"
        for name in included(path):
            if name.startswith(f'"{other}/'):
                yield f"{path.relative_to(root)} -> {name}"


def src_binds_the_contract_and_the_backend(root: Path) -> Iterator[str]:
    for path in code_files(root, "src"):
        for name in included(path):
            file = name[1:-1]
            ours = (root / "csrc" / file).is_file() or (root / "src" / file).is_file()
            if not (
                ours
                if name.startswith('"')
                else re.match(r"<(pybind11/|stddef.h>|[a-z_0-9]+>$)", name) or file in CUDA_HEADERS
            ):
                yield f"{path.relative_to(root)} -> {name}"


def only_kernels_reach_the_vectors(root: Path) -> Iterator[str]:
    """The other files are compiled once, for any processor."""
    for source in code_files(root, "csrc", "src"):
        if source.suffix != ".cpp" or source.name in KERNEL_SOURCES:
            continue
        seen, ahead = set(), [source]
        while ahead:
            for name in included(ahead.pop()):
                header = root / "csrc" / name[1:-1]
                if header.is_file() and header not in seen:
                    seen.add(header)
                    ahead.append(header)
        for header in seen & {root / "csrc/cpu/simd.h", root / "csrc/cpu/vector_math.h"}:
            yield f"{source.relative_to(root)} -> {header.relative_to(root)}"


# ---- Python: a part of the package imports itself and the parts of the lines above it --------------------------------

LEVELS = [
    "_core checks reference saved sizes",
    "backends",
    "explanation initializers module random sequences settings threads",
    "functional stepper weights",
    "data nn optim stack",
    "recurrent",
    "layers",
    "models",
    "train",
    "examples __init__",
    "bench",
    "cli",
    "__main__",
]
LEVEL = {part: level for level, line in enumerate(LEVELS) for part in line.split()}

# `cli` and `bench` ask it only which instruction set runs, and what the processor can do at most.
KNOW_THE_KERNELS = {
    "backends.cpu",
    "backends.cuda_weights",
    "optim.kernels",
    "threads",
    "weights",
    "cli",
    "bench.machine",
    "bench.peers.fusedrnn",
}
HARD_DEPENDENCIES = {"numpy", "safetensors", "tqdm"}
LAZY_DEPENDENCIES = {"matplotlib", "ml_dtypes", "mpi4py", "pooch"}


def modules(root: Path) -> dict[str, Path]:
    """The files of the package by dotted name."""
    found = {"fusedrnn._core": root / "python/fusedrnn/_core.pyi"}
    for package, folder in (("fusedrnn", root / "python/fusedrnn"), ("fusedrnn.bench", root / "bench")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def imported(name: str, files: dict[str, Path], *, lazily: bool = True) -> Iterator[str]:
    """What the module `name` imports, as modules; those within functions only if `lazily`."""
    package = name if files[name].name == "__init__.py" else name.rpartition(".")[0]
    ahead: list[ast.AST] = [ast.parse(files[name].read_text())]
    while ahead:
        node = ahead.pop()
        if lazily or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            ahead += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                inside = f"{source}.{alias.name}"
                yield inside if inside in files else source


def part_of(module: str) -> str:
    """The first name below the package: a module, a folder or, for the package itself, its __init__."""
    return [*module.split("."), "__init__"][1]


def parts_import_what_lies_below(root: Path) -> Iterator[str]:
    files = modules(root)
    for name, path in files.items():
        for other in imported(name, files):
            if other.split(".")[0] != "fusedrnn" or part_of(other) == part_of(name):
                continue
            if LEVEL[part_of(other)] >= LEVEL[part_of(name)]:
                yield f"{path.relative_to(root)} -> {other}"


def the_oracle_imports_nothing_that_it_checks(root: Path) -> Iterator[str]:
    files = modules(root)
    path = files["fusedrnn.reference"]
    for other in imported("fusedrnn.reference", files):
        if other.split(".")[0] not in {"numpy"} | sys.stdlib_module_names:
            yield f"{path.relative_to(root)} -> {other}"


def few_modules_know_the_kernels(root: Path) -> Iterator[str]:
    files = modules(root)
    for name, path in files.items():
        if name.removeprefix("fusedrnn.") not in KNOW_THE_KERNELS and "fusedrnn._core" in imported(name, files):
            yield f"{path.relative_to(root)} -> fusedrnn._core"


def the_package_needs_three_others(root: Path) -> Iterator[str]:
    """And some that are imported when they are used; the peers of the bench are its own business."""
    files = modules(root)
    known = {"fusedrnn"} | HARD_DEPENDENCIES | sys.stdlib_module_names
    for name, path in files.items():
        if part_of(name) == "bench":
            continue
        now = {other.split(".")[0] for other in imported(name, files, lazily=False)}
        ever = {other.split(".")[0] for other in imported(name, files)}
        for other in sorted((now - known) | (ever - known - LAZY_DEPENDENCIES)):
            yield f"{path.relative_to(root)} -> {other}"


def no_modules_import_each_other(root: Path) -> Iterator[str]:
    files = modules(root)
    graph = {name: {other for other in imported(name, files, lazily=False) if other in files} for name in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # It lists each module after one that imports it.
        yield " -> ".join(str(files[name].relative_to(root)) for name in reversed(error.args[1]))


# ---- the tests -------------------------------------------------------------------------------------------------------

RULES: list[Callable[[Path], Iterator[str]]] = [
    csrc_consists_of_these_folders,
    folders_of_csrc_include_what_lies_below,
    csrc_needs_the_standard_library_alone,
    cells_compute_with_the_value_type_alone,
    src_binds_the_contract_and_the_backend,
    each_folder_of_src_binds_its_own_backend,
    only_kernels_reach_the_vectors,
    parts_import_what_lies_below,
    the_oracle_imports_nothing_that_it_checks,
    few_modules_know_the_kernels,
    the_package_needs_three_others,
    no_modules_import_each_other,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_data_goes_one_way(rule):
    assert list(rule(ROOT)) == []


def test_every_part_of_the_package_has_a_level():
    assert {part_of(name) for name in modules(ROOT)} == set(LEVEL)


ARROWS_BACK = [
    (csrc_consists_of_these_folders, "csrc/gpu/a.h", "", "no rule for its folder"),
    (folders_of_csrc_include_what_lies_below, "csrc/contract/problem.h", '#include "cells/gru.h"', '"cells/gru.h"'),
    (folders_of_csrc_include_what_lies_below, "csrc/cells/gru.h", '#include "cpu/simd.h"', '"cpu/simd.h"'),
    (folders_of_csrc_include_what_lies_below, "csrc/cuda/dropout.cu", '#include "cpu/pool.h"', '"cpu/pool.h"'),
    (each_folder_of_src_binds_its_own_backend, "src/cuda/dropout.cpp", '#include "cpu/pool.h"', '"cpu/pool.h"'),
    (each_folder_of_src_binds_its_own_backend, "src/dropout.cpp", '#include "cuda/backend.h"', '"cuda/backend.h"'),
    (folders_of_csrc_include_what_lies_below, "csrc/cpu/plan.cpp", '#include "intake.h"', '"intake.h"'),
    (csrc_needs_the_standard_library_alone, "csrc/cpu/pool.cpp", "# include <Python.h>", "<Python.h>"),
    (csrc_needs_the_standard_library_alone, "csrc/cpu/a.h", "#include <pybind11/numpy.h>", "<pybind11/numpy.h>"),
    (cells_compute_with_the_value_type_alone, "csrc/cells/rnn.h", "#include <cmath>", "<cmath>"),
    (cells_compute_with_the_value_type_alone, "csrc/cells/lstm.h", "double f(int);", "double"),
    (src_binds_the_contract_and_the_backend, "src/layer.cpp", "#include <Eigen/Dense>", "<Eigen/Dense>"),
    (only_kernels_reach_the_vectors, "csrc/cpu/pool.cpp", '#include "cpu/share.h"', "csrc/cpu/simd.h"),
    (parts_import_what_lies_below, "layers.py", "from fusedrnn import train", "fusedrnn.train"),
    (parts_import_what_lies_below, "optim/adam.py", "from ..examples.demo import x", "fusedrnn.examples.demo"),
    (parts_import_what_lies_below, "data/text.py", "def f():\n    import fusedrnn.nn", "fusedrnn.nn"),
    (parts_import_what_lies_below, "module.py", "import fusedrnn as fr", "fusedrnn"),
    (the_oracle_imports_nothing_that_it_checks, "reference.py", "from fusedrnn.random import x", "fusedrnn.random"),
    (few_modules_know_the_kernels, "nn/linear.py", "from fusedrnn import _core", "fusedrnn._core"),
    (the_package_needs_three_others, "train/plot.py", "from matplotlib import pyplot", "matplotlib"),
    (the_package_needs_three_others, "data/ptb.py", "def f():\n    import pandas", "pandas"),
    (no_modules_import_each_other, "saved.py", "from fusedrnn.nn import Linear", "python/fusedrnn/nn/__init__.py"),
]


@pytest.mark.parametrize(
    ("rule", "file", "line", "report"), ARROWS_BACK, ids=[f"{rule.__name__}-{file}" for rule, file, *_ in ARROWS_BACK]
)
def test_an_arrow_back_is_reported(tmp_path, rule, file, line, report):
    for folder in ("csrc", "src", "python", "bench"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    changed = f"python/fusedrnn/{file}" if file.endswith(".py") else file
    (tmp_path / changed).parent.mkdir(exist_ok=True)
    with (tmp_path / changed).open("a") as stream:
        stream.write(f"\n{line}\n")
    found = list(rule(tmp_path))
    assert any(f"{changed} -> {report}" in entry for entry in found), found
