"""The README and the guides are promises: their commands and their code run as printed, and give what they show."""

import re
from pathlib import Path

import pytest
from conftest import ROOT
from guides import Reader, blocks

GUIDES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture
def reader(acdc, tmp_path, capsys, monkeypatch):
    """Somebody in an empty folder, whose packages are forgotten afterwards."""
    from test_extensions import REGISTRIES

    def forget():
        for registry in REGISTRIES:
            registry.reload()

    def install(folder: Path) -> None:
        monkeypatch.syspath_prepend(folder)
        forget()

    yield Reader(tmp_path, acdc, capsys, install)
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=lambda path: path.stem)
def test_every_block_runs_as_printed(path, reader):
    for block in blocks(path):
        reader.follow(block)


def test_ci_runs_the_test_command():
    commands = [
        block.text.strip() for block in blocks(ROOT / "README.md") if block.comment == "not run: runs the tests"
    ]
    assert commands and all(command in (ROOT / ".ci/run").read_text() for command in commands)


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_guide_states_the_budget_of_every_verification():
    from acdc.options import Extent
    from acdc.verification import budget, full_verification

    def told(flops: float) -> str:
        return f"{flops / 1e12:g} TFLOP"

    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", (ROOT / "docs/verification.md").read_text(), re.MULTILINE)
    assert dict(rows) == {
        Extent.none: "none",
        Extent.quick: told(budget.MEASURES_SHARE * budget.STANDARD_FLOPS),
        Extent.standard: told(budget.STANDARD_FLOPS),
        Extent.full: f"{told(budget.FULL_FLOPS)}, and {told(full_verification.EXTRA_FLOPS)} for these",
    }
