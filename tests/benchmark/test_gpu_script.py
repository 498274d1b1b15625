"""The script that waits for the first GPU works: run on the CPU with small shapes, and resumed."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from acdc.artefacts.scores import Decision

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    try:
        yield importlib.import_module("gpu")
    finally:
        for name in ("gpu", "shapes"):
            sys.modules.pop(name, None)


def decided(*tests: tuple[str, float, bool]) -> list[Decision]:
    return [Decision(name, 0.0, after, kept) for name, after, kept in tests]


def test_decisions_may_differ_only_near_the_threshold(gpu):
    ours = decided(("a", 0.2, True), ("b", 0.1 * (1 - 5e-4), False), ("c", 0.0, False))
    assert gpu.compare(ours, ours, 0.1) == {"agree": True, "differs_at": None, "margin": None}
    near = gpu.compare(ours, decided(("a", 0.2, True), ("b", 0.1, True)), 0.1)
    assert near["agree"] and near["differs_at"] == 1 and near["margin"] == pytest.approx(5e-4)
    assert not gpu.compare(ours, decided(("a", 0.2, False)), 0.1)["agree"], "far from the threshold"
    assert not gpu.compare(ours, decided(("a", 0.2, True), ("x", 0.1, True)), 0.1)["agree"], "another edge"
    assert not gpu.compare(ours, ours[:2], 0.1)["agree"], "fewer tests"


def test_rows_like_ioi_differ_in_one_token(gpu):
    task = gpu.ioi_like(50, 40, 9, seed=0)
    for row in task.rows:
        differ = [(a, b) for a, b in zip(row.clean, row.corrupted, strict=True) if a != b]
        assert differ == [(row.correct[0], row.incorrect[0])]


def run(out: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, "--out", out, *words], capture_output=True, text=True)


def test_without_a_gpu_it_says_so(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = run(tmp_path)
    assert done.returncode == 2 and "has no GPU: use --dry" in done.stderr


@pytest.mark.slow
def test_every_part_runs_and_none_twice(tmp_path):
    """Cut off at first; then what is missing is run, and what is there is left."""
    cut = run(tmp_path, "--dry", "--seconds", "0", "--parts", "retreat,acdc")
    assert cut.returncode == 1 and "retreat: not begun" in cut.stderr
    first = run(tmp_path, "--dry", "--parts", "retreat,acdc")
    assert first.returncode == 0, first.stderr
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(before) == ["acdc.json", "retreat.json"]
    done = run(tmp_path, "--dry")
    assert done.returncode == 0, done.stderr
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    lines = done.stdout.splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["decisions", "acdc", "attribution", "retreat"]
    assert all(line.split("|")[2].strip() == "yes" for line in lines), done.stdout
    assert "batch_splits 2" in lines[-1] and "peak_to_plan" in lines[2]
