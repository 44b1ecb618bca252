"""The pages in docs tell the truth: every system has one in each language; their Python, commands and links work."""

from __future__ import annotations

import argparse
import ast
import re

import pytest
from test_readme import ROOT, blocks, fusedrnn_calls, prose, text_of

from fusedrnn import cli
from fusedrnn.examples import SYSTEMS

PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts
)
ENGLISH, CHINESE = "docs", "docs/zh"
# The start page of each language is its own.
TRANSLATED = [page.removeprefix(f"{CHINESE}/") for page in PAGES if page.startswith(CHINESE) and "index" not in page]

every_page = pytest.mark.parametrize("page", PAGES)
every_system = pytest.mark.parametrize("system", SYSTEMS)
both_languages = pytest.mark.parametrize("folder", [ENGLISH, CHINESE])


def options_of(system: str) -> set[str]:
    """The options of ``fusedrnn run SYSTEM``, common ones included."""
    one = argparse.ArgumentParser()
    cli.add_common_options(one, system)
    SYSTEMS[system].add_options(one)
    return {word for action in one._actions for word in action.option_strings}


# ---- systems ---------------------------------------------------------------------------------------------------------


@both_languages
@every_system
def test_every_system_has_a_page_that_runs_it(folder, system):
    page = f"{folder}/{system}.md"
    assert text_of(page).startswith(f"# `{system}`")
    assert ["run", system] in [call[:2] for call in fusedrnn_calls(page)]


@both_languages
@every_system
def test_the_overview_leads_to_every_page(folder, system):
    [row] = [line for line in text_of(f"{folder}/systems.md").splitlines() if line.startswith(f"| `{system}` |")]
    assert f"]({system}.md) |" in row


@both_languages
@every_system
def test_options_that_are_named_are_options_of_the_system(folder, system):
    # Commands may be of other systems, and are parsed below.
    named = {word for span in re.findall(r"`(--[^`]*)`", prose(f"{folder}/{system}.md")) for word in span.split()}
    assert {word for word in named if word.startswith("--")} <= options_of(system)


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_show_the_same(name):
    english, chinese = (f"{folder}/{name}" for folder in (ENGLISH, CHINESE))
    assert list(fusedrnn_calls(english)) == list(fusedrnn_calls(chinese))
    programs = [[ast.dump(ast.parse(block)) for block in blocks(page, "python")] for page in (english, chinese)]
    assert programs[0] == programs[1]  # but for comments
    figures = [re.findall(r"`\w+: [\d.e-]+`", text_of(page)) for page in (english, chinese)]
    assert figures[0] == figures[1]


# ---- every page ------------------------------------------------------------------------------------------------------


@every_page
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {"__name__": page})
    assert list(tmp_path.iterdir()) == []


@every_page
def test_calls_can_be_parsed(page):
    for call in fusedrnn_calls(page):
        if call[0] == "bench":  # its options are its own
            continue
        # NAME stands for any system, and a request for help ends with code 0.
        words = ["forward" if word == "NAME" else word for word in call]
        try:
            cli.parser().parse_args(words)
        except SystemExit as stop:
            assert stop.code == 0, f"fusedrnn {' '.join(call)}"


@every_page
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    files = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [file for file in files if not (ROOT / page).parent.joinpath(file).is_file()] == []


@every_page
def test_files_that_are_named_exist(page):
    named = re.findall(r"\b(?:tests|docs|bench|csrc|python)/[\w./-]+\.\w+", text_of(page))
    assert [file for file in named if not (ROOT / file).exists()] == []
