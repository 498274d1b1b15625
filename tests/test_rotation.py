"""Thorough tests are run a part at a time: every one is in exactly one part."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import part_of, rotation

ROOT = Path(__file__).parent.parent
TESTS = """
import pytest

@pytest.mark.thorough
@pytest.mark.parametrize("number", range(30))
def test_thorough(number): pass

def test_other(): pass
"""


def chosen(folder: Path, *options: str) -> list[str]:
    """Ids of the tests that pytest would run."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-c", "/dev/null"]
    ran = subprocess.run([*command, *options, "tests"], cwd=folder, capture_output=True, text=True)
    assert ran.returncode in (0, 5), ran.stdout + ran.stderr
    return [line.split("::")[1] for line in ran.stdout.splitlines() if "::" in line]


def test_parts_are_disjoint_and_cover_all(tmp_path):
    (tmp_path / "tests").mkdir()
    for name in ("conftest.py", "browsing.py"):  # the second is a plugin that the first names
        (tmp_path / "tests" / name).write_text((ROOT / "tests" / name).read_text())
    (tmp_path / "tests/test_some.py").write_text(TESTS)
    every = chosen(tmp_path)
    assert len(every) == 31
    parts = [chosen(tmp_path, "--rotation", f"{part}/3") for part in range(3)]
    assert all("test_other" in part for part in parts)
    assert sorted(name for part in parts for name in part if name != "test_other") == sorted(every[:30])
    assert all(len(part) > 1 for part in parts)


def test_a_part_is_fixed():
    """By the id alone, so that it is the same on every machine."""
    assert [part_of(f"tests/test_a.py::test_b[{i}]", 40) for i in range(4)] == [32, 9, 29, 8]


@pytest.mark.parametrize("text", ["", "3", "3/3", "-1/3", "a/b", "1/2/3"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ValueError):
        rotation(text)
