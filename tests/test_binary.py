"""The compiled extension: its size, what it exports, where vector instructions stand, and that every set agrees."""

from __future__ import annotations

import filecmp
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from problems import CELLS, errors

from fusedrnn import _core

TESTS = Path(__file__).resolve().parent
EXTENSION = Path(_core.__file__).resolve()
X86_LINUX = sys.platform == "linux" and platform.machine() == "x86_64"

# What a processor must have for each set, from the one that always runs to the best, in the words of /proc/cpuinfo.
NEEDS = {"scalar": "", "avx2": "avx2 fma", "avx512": "avx512f avx512vl avx512dq avx512bw"}

# AVX instructions start with v, those of its masks with k; AVX-512 alone has zmm, masks and registers above 15.
AVX = re.compile(r"\t(?:\{\w+\} )?[vk]\w+")
AVX512 = re.compile(r"%zmm|%k[0-7]|%[xy]mm(?:1[6-9]|[23]\d)")

every_set = pytest.mark.parametrize("isa", NEEDS)


def output_of(tool: str, *arguments: str | Path) -> str:
    if shutil.which(tool) is None or not X86_LINUX:
        pytest.skip(f"needs {tool} and an extension for Linux on x86-64")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout


def kernel_objects(isa: str) -> list[Path]:
    """The object files of a set, from the folder in which this very extension was linked."""
    for folder in (EXTENSION.parent, *TESTS.parent.glob("build/*")):
        linked, objects = folder / EXTENSION.name, folder / f"CMakeFiles/fusedrnn_kernels_{isa}.dir"
        if linked.is_file() and objects.is_dir() and filecmp.cmp(linked, EXTENSION, shallow=False):
            found = sorted(objects.rglob("*.o"))
            assert len(found) == 2  # of kernels.cpp and optimiser_kernels.cpp
            return found
    pytest.skip("the folder in which this extension was built is gone")


def instructions(*binaries: Path) -> Iterator[tuple[str, str]]:
    """Each instruction with the name of its function; the name is empty where the symbols were stripped."""
    function = ""
    for line in output_of("objdump", "-d", "-C", "--no-show-raw-insn", *binaries).splitlines():
        if header := re.fullmatch(r"[0-9a-f]+ <(.*)>:", line):
            function = header[1]
        elif re.match(r"\s+[0-9a-f]+:\t", line):
            yield function, line


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_extension_is_smaller_than_5_mb():
    assert EXTENSION.stat().st_size < 5_000_000


def test_nothing_is_exported_but_the_entry():
    """What is exported may be mixed up with the same name in another library of the process."""
    symbols = output_of("nm", "-D", "-C", "--defined-only", EXTENSION).splitlines()
    assert [line.split(maxsplit=2)[2] for line in symbols] == ["PyInit__core"]


# ---- where vector instructions stand ---------------------------------------------------------------------------------


@every_set
def test_what_a_set_shares_with_the_linker_bears_its_name(isa):
    """Of a function of one name in two object files the linker keeps one, which could be the one that needs AVX-512."""
    lines = [
        line for path in kernel_objects(isa) for line in output_of("nm", "-C", "--defined-only", path).splitlines()
    ]
    symbols = [line[17:] for line in lines]
    shared = [symbol for symbol in symbols if symbol[0].isupper() or symbol[0] in "uvw"]
    assert shared
    assert [symbol for symbol in shared if f"fusedrnn::{isa}::" not in symbol] == []


@every_set
def test_vector_instructions_stand_in_the_functions_of_their_set(isa):
    wide = {function for function, line in instructions(*kernel_objects(isa)) if AVX.search(line)}
    assert [function for function in wide if f"fusedrnn::{isa}::" not in function] == []
    assert bool(wide) == (isa != "scalar")


def test_the_avx2_functions_need_no_avx512():
    assert [line for _, line in instructions(*kernel_objects("avx2")) if AVX512.search(line)] == []


def test_all_vector_instructions_of_the_extension_come_from_the_kernels():
    """The common code, which runs on any processor, has none."""
    count = lambda *binaries: sum(AVX.search(line) is not None for _, line in instructions(*binaries))  # noqa: E731
    assert count(EXTENSION) == count(*kernel_objects("avx2"), *kernel_objects("avx512"))


@every_set
def test_no_code_of_a_set_runs_when_the_extension_is_loaded(isa):
    sections = output_of("objdump", "-h", *kernel_objects(isa))
    assert ".init_array" not in sections
    assert ".ctors" not in sections


# ---- every set that this processor has -------------------------------------------------------------------------------

PROBE = """
import sys
import numpy as np
import fusedrnn as fr
from fusedrnn import cli, functional
from problems import CELLS, Case, build, run

results = {}
for dtype in ("float32", "float64"):
    for cell in CELLS:
        features = {"num_layers": 2, "bidirectional": True, "lengths": True, "reset": True}
        problem = build(Case(cell, T=7, B=5, I=9, H=19, **features), dtype)
        results |= {f"{dtype} {cell} {name}": value for name, value in run(problem).items()}
    logits = np.random.default_rng(3).normal(size=(6, 45)).astype(dtype)
    loss, saved = functional.softmax_cross_entropy_forward(logits, np.arange(6))
    results[f"{dtype} loss"] = loss
    results[f"{dtype} dlogits"] = functional.softmax_cross_entropy_backward(saved)
    results[f"{dtype} dropped"] = functional.dropout_forward(logits[None], 0.4, seed=8)
np.savez(sys.argv[1], **results)
print(problem.layer.explain((7, 5, 9)))
cli.main(["info"])
"""


def run_python(isa: str | None, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python with FUSEDRNN_ISA set so, and with the modules of the tests; None: not set."""
    environment = {name: value for name, value in os.environ.items() if name != "FUSEDRNN_ISA"}
    environment |= {} if isa is None else {"FUSEDRNN_ISA": isa}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), environment.get("PYTHONPATH")]))
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def sets_of_this_machine() -> list[str]:
    if not X86_LINUX:
        return ["scalar"]
    flags = set(re.findall(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[0].split())
    return [isa for isa, needs in NEEDS.items() if flags.issuperset(needs.split())]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, tuple[dict[str, np.ndarray], str]]:
    """By set: all results, and what the process printed."""
    found = {}
    for isa in sets_of_this_machine():
        file = tmp_path_factory.mktemp("sets") / f"{isa}.npz"
        done = run_python(isa, "-c", PROBE, file)
        assert done.returncode == 0, done.stderr
        with np.load(file) as results:
            found[isa] = dict(results), done.stdout
    return found


def test_each_set_that_the_processor_has_says_that_it_runs(outcomes):
    for isa, (_, text) in outcomes.items():
        assert f"instruction set {isa}," in text
        assert re.search(rf"^instruction set +{isa}$", text, re.MULTILINE)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_all_sets_give_the_same_results(outcomes, dtype, tolerance):
    expected = {name: value for name, value in outcomes["scalar"][0].items() if name.startswith(dtype)}
    assert all(any(cell in name for name in expected) for cell in CELLS)
    for isa, (results, _) in outcomes.items():
        found = {name: value for name, value in results.items() if name in expected}
        wrong = {name: error for name, error in errors(found, expected).items() if not error <= tolerance}
        assert not wrong, isa


def test_all_sets_drop_the_same_values_to_the_last_bit(outcomes):
    for isa, (results, _) in outcomes.items():
        for name in ("float32 dropped", "float64 dropped"):
            assert np.array_equal(results[name], outcomes["scalar"][0][name]), (isa, name)


@pytest.mark.parametrize("wish", [None, ""])
def test_without_a_wish_the_best_set_runs(wish):
    done = run_python(wish, "-c", "from fusedrnn import _core; print(_core.isa())")
    assert done.stdout.strip() == sets_of_this_machine()[-1]


def test_an_unknown_set_is_refused_with_those_that_are_there():
    done = run_python("sse9", "-c", "import fusedrnn; fusedrnn.LSTM(2, 3).explain((1, 1, 2))")
    there = ", ".join(reversed(sets_of_this_machine()))
    assert done.stderr.splitlines()[-1] == (
        f"ValueError: fusedrnn: FUSEDRNN_ISA must name an instruction set of this machine and build ({there}), "
        "got 'sse9'"
    )
