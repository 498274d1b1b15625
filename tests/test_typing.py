"""What a type checker tells a user who has acdc installed: nothing of a right program, and the lines of its errors."""

import re
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """\
from pathlib import Path

import acdc
from acdc import Circuit, Metric, MetricFunction, Report, RowBatch, StoredJob
from torch import Tensor


def margin(logits: Tensor, rows: RowBatch) -> Tensor:
    right = logits.masked_fill(~rows.correct, -1e9).amax(-1)
    return right - logits.masked_fill(rows.correct, -1e9).amax(-1)


def shares(found: Circuit, report: Report) -> tuple[float, float | None]:
    return len(found.edges) / found.edges_total, report.faithfulness


def study(out: Path) -> list[StoredJob]:
    model = acdc.load_model("trio", device="cpu")
    task = acdc.load_task("induction", model)
    chosen: MetricFunction = margin
    found = acdc.discover(model, task, "eap", metric=chosen, edges=9, limit=8)
    report = acdc.verify(model, task, found.circuit, metric=margin, scores=found.scores)
    size, faithfulness = shares(found.circuit, report)
    print(f"{size:.2f}", "?" if faithfulness is None else f"{faithfulness:.2f}")
    curve = acdc.sweep(model, task, [2.0, 4.0], metric=Metric("loss", lambda x, rows: -margin(x, rows), False), limit=4)
    for point in curve.points:
        print(point.threshold, [edge.id for edge in point.circuit.edges])
    found.circuit.save(out)
    assert Circuit.load(out).edges == found.circuit.edges
    return acdc.run_jobs([{"task": "induction", "method": "eap", "edges": [9, 20], "limit": 8}], out / "jobs")
"""
WRONG = {
    'acdc.load_task("induction", model)': ('acdc.load_task("induction", 7)', "arg-type"),
    "report.faithfulness\n": ("report.faithfulness / 2\n", "operator"),
    "chosen: MetricFunction = margin": ("chosen: MetricFunction = shares", "assignment"),
    "edges=9, limit=8)\n": ('edges="9", limit=8)\n', "arg-type"),
    "scores=found.scores)": ("scores=found.score)", "attr-defined"),
    "[2.0, 4.0]": ('["2.0"]', "list-item"),
    "in point.circuit.edges": ("in point.circuit", "attr-defined"),
    'out / "jobs")': ('out / "jobs", worker=2)', "call-arg"),
}


@pytest.fixture(scope="module")
def check(tmp_path_factory) -> Callable[[str], list[str]]:
    """Lines that mypy has to say of a program, in an environment into which this package is installed."""
    api = pytest.importorskip("mypy.api", reason="needs mypy")
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": folder / "venv", "platbase": folder / "venv"}))
    (site / "tree.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    file = folder / "program.py"

    def run(text: str) -> list[str]:
        file.write_text(text)
        options = [
            "--strict",
            "--config-file=",
            "--cache-dir",
            str(folder / "cache"),
            "--python-executable",
            str(python),
        ]
        said, failed, _ = api.run([*options, str(file)])
        assert not failed, failed
        return said.splitlines()

    return run


@pytest.mark.thorough
def test_a_right_program_is_clean(check):
    assert check(PROGRAM) == ["Success: no issues found in 1 source file"]


@pytest.mark.thorough
def test_every_error_is_reported_at_its_line(check):
    wrong, lines = PROGRAM, {}
    for right, (error, code) in WRONG.items():
        assert PROGRAM.count(right) == 1
        lines[PROGRAM[: PROGRAM.index(right)].count("\n") + 1] = code
        wrong = wrong.replace(right, error)
    found = [re.search(r"program\.py:(\d+): error: .*\[(.*)\]$", line) for line in check(wrong)]
    assert {int(match[1]): match[2] for match in found if match} == lines


@pytest.mark.thorough
def test_the_right_program_does_what_it_says(tmp_path, capsys):
    scope: dict = {"__name__": "program"}
    exec(compile(PROGRAM, "program.py", "exec"), scope)
    jobs = scope["study"](tmp_path)
    assert [job.status.value for job in jobs] == ["done", "done"]
    assert len(capsys.readouterr().out.splitlines()) == 3
