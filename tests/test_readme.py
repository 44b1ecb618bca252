"""Both READMEs tell the truth: their Python runs, and their commands, links and names exist."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fusedrnn as fr
from fusedrnn import cli
from fusedrnn.examples import SYSTEMS

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
COMMANDS = ("demo", "run", "list", "sample", "data", "bench", "info")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

every_readme = pytest.mark.parametrize("readme", READMES)


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


def blocks(readme: str, language: str) -> list[str]:
    return [block for name, block in FENCED.findall(text_of(readme)) if name == language]


def prose(readme: str) -> str:
    """What stands outside of blocks."""
    return FENCED.sub("", text_of(readme))


def console_commands(readme: str) -> list[str]:
    lines = "".join(blocks(readme, "console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def fusedrnn_calls(readme: str) -> Iterator[list[str]]:
    """The arguments of each call of the command line: in console blocks, in prose, and in output that shows one."""
    shown = re.findall(r"^.*: (fusedrnn .*)$", "".join(blocks(readme, "text")), re.MULTILINE)
    quoted = re.findall(r"`(fusedrnn [^`]*)`", prose(readme))
    for command in [*console_commands(readme), *shown, *quoted]:
        for part in command.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["fusedrnn"]:
                yield words[1:]


def resolve(dotted: str) -> object:
    """What a name such as fr.optim.Adam stands for."""
    value: object = fr
    for name in dotted.split(".")[1:]:
        value = getattr(value, name)
    return value


# ---- Python ----------------------------------------------------------------------------------------------------------


@every_readme
def test_python_runs(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks(readme, "python")
    assert found
    for block in found:
        exec(compile(block, readme, "exec"), {"__name__": readme})
    assert list(tmp_path.iterdir()) == []


@every_readme
def test_python_does_what_its_comments_say(readme):
    names: dict[str, Any] = {}
    exec(blocks(readme, "python")[0], names)
    lstm, x, y = names["lstm"], names["x"], names["y"]
    assert x.shape == (50, 4, lstm.input_size)
    fresh = fr.LSTM(8, 32, 2, seed=0, dtype="float64")

    def loss(x: np.ndarray) -> float:
        return float((fresh(x)[0] ** 2).sum())

    x, direction = x.astype("float64"), np.random.default_rng(1).normal(size=x.shape)
    slope = (loss(x + 1e-5 * direction) - loss(x - 1e-5 * direction)) / 2e-5
    assert slope == pytest.approx((names["dx"] * direction).sum(), rel=1e-4)
    before, after = fr.LSTM(8, 32, 2, seed=0).state_dict(), lstm.state_dict()
    assert all((before[name] != after[name]).any() for name in before)
    assert fr.LSTM(8, 32, 2, seed=0)(names["x"])[0].tobytes() == y.tobytes()


def test_both_readmes_show_the_same_python():
    english, chinese = ([ast.dump(ast.parse(block)) for block in blocks(readme, "python")] for readme in READMES)
    assert english == chinese  # but for comments


@every_readme
def test_names_of_the_package_exist(readme):
    names = set(re.findall(r"\bfr(?:\.\w+)+", text_of(readme)))
    assert len(names) > 5
    for name in names:
        resolve(name)


def test_the_table_of_parts_names_what_the_parts_have():
    rows = re.findall(r"^\| `fr\.(\w+)` \| (.*) \|$", text_of("README.md"), re.MULTILINE)
    named = {part: re.findall(r"\b[A-Z]\w+\b", what) for part, what in rows}
    assert {"nn", "optim"} <= named.keys()
    for part in ("nn", "optim"):
        module = resolve(f"fr.{part}")
        assert isinstance(module, ModuleType)
        assert [name for name in named[part] if not hasattr(module, name)] == []


def test_the_error_that_is_shown_is_the_one_that_comes():
    shown = re.search(r"`(LSTM: x must [^`]*)`", text_of("README.md"))
    with pytest.raises(ValueError) as caught:
        fr.LSTM(8, 32)(np.zeros((50, 4, 9), "float32"))
    assert shown and shown[1] == str(caught.value)


# ---- commands --------------------------------------------------------------------------------------------------------


@every_readme
def test_two_commands_install_and_run(readme):
    commands = console_commands(readme)
    assert 'pip install ".[examples]" && fusedrnn demo' in commands
    assert 'pip install ".[test]" && pytest' in commands


def test_extras_that_are_installed_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {extra for readme in READMES for extra in re.findall(r"\.\[(\w+)\]", text_of(readme))}
    assert named <= project["optional-dependencies"].keys()
    assert project["readme"] == "README.md"
    assert not any("torch" in need for need in project["optional-dependencies"]["test"])
    assert f"Python {project['requires-python'].removeprefix('>=')}" in text_of("README.md")


@every_readme
def test_commands_are_those_of_the_command_line(readme, capsys):
    calls = list(fusedrnn_calls(readme))
    assert len(calls) > 5
    for command, *_ in calls:
        assert command in COMMANDS
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0
    assert "usage: fusedrnn" in capsys.readouterr().out


@every_readme
def test_calls_can_be_parsed(readme):
    for call in fusedrnn_calls(readme):
        if call[0] != "bench":
            cli.parser().parse_args(call)


def test_the_bench_knows_the_libraries_that_are_named():
    from fusedrnn.bench.peers import PEERS

    named = [call[call.index("--against") + 1] for call in fusedrnn_calls("README.md") if "--against" in call]
    assert named
    assert set(",".join(named).split(",")) <= set(PEERS)


@every_readme
def test_systems_that_are_run_exist(readme):
    named = [call[1] for call in fusedrnn_calls(readme) if call[0] == "run"]
    assert named
    assert set(named) <= SYSTEMS.keys()


def test_every_command_and_every_system_is_shown():
    calls = [call for readme in READMES for call in fusedrnn_calls(readme)]
    assert {call[0] for call in calls} == set(COMMANDS)
    assert {call[1] for call in calls if call[0] == "run"} == set(SYSTEMS)


# ---- links and layout ------------------------------------------------------------------------------------------------


@every_readme
def test_links_lead_to_files(readme):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(readme))
    files = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_the_readmes_lead_to_each_other():
    assert "(README.zh-CN.md)" in text_of("README.md")
    assert "(README.md)" in text_of("README.zh-CN.md")


@every_readme
def test_files_that_are_named_exist(readme):
    named = re.findall(r"\b(?:tests|docs|bench|csrc|python)/[\w./-]+\.\w+", text_of(readme))
    assert [file for file in named if not (ROOT / file).exists()] == []


@every_readme
def test_blocks_are_closed_and_have_a_language(readme):
    text = text_of(readme)
    assert text.count("```") == 2 * len(FENCED.findall(text))
    assert {language for language, _ in FENCED.findall(text)} == {"console", "python", "text"}
