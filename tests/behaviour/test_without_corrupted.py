"""Rows without a corrupted prompt: all that needs none gives what it gives where there is one, the rest is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from acdc.errors import InputError
from acdc.search.discover import discover, prepare
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task
from acdc.task.rows import Task

NEED_NONE = ("zero", "mean", "mean-positional", "optimal")


def bare(task: Task, rows: int = 16) -> Task:
    return replace(task, rows=tuple(replace(row, corrupted=None) for row in task.rows[:rows]))


@pytest.mark.parametrize("ablation", NEED_NONE)
def test_the_same_edges_are_found(trio, induction, ablation):
    """With the same rows for discovery, which the split chooses by the corrupted prompts too."""
    settings = DiscoverySettings(method=METHODS["eap"], ablation=ablation, edges=40, limit=8)
    whole = replace(induction, rows=induction.rows[:16])
    expected, found = (discover(trio, task, settings) for task in (whole, bare(induction)))
    assert found.scores == expected.scores


def test_resampling_needs_them(trio, induction):
    settings = DiscoverySettings(method=METHODS["eap"], edges=40)
    some = replace(induction, rows=(*induction.rows[:4], *bare(induction, 6).rows[4:]))
    message = rf"ablation 'resample' needs corrupted prompts, and row {some.rows[4].id!r} has none; .* are zero, mean,"
    with pytest.raises(InputError, match=message):
        prepare(trio, some, settings)
    prepare(trio, some, replace(settings, ablation="zero"))


def write_bare(name: str, trio, rows: int = 16) -> None:
    task = load_task("induction", trio)
    lines = [
        {"clean": row.clean, "correct": row.correct, "incorrect": row.incorrect, "id": row.id}
        for row in task.rows[:rows]
    ]
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.thorough
def test_a_run_from_check_to_report(acdc, trio):
    write_bare("bare.jsonl", trio)
    checked = acdc("check-task", "bare.jsonl")
    assert "16 rows have no corrupted prompt: discover with --ablation zero or mean or mean-" in checked.out
    assert all(
        ends["corrupted"] is None for ends in acdc("check-task", "bare.jsonl", "--json").json["measures"].values()
    )
    refused = acdc("discover", "--task", "bare.jsonl")
    assert refused.code == 2 and "needs corrupted prompts" in refused.err
    assert acdc("plan", "--task", "bare.jsonl", "--no-probe").code == 2
    words = ("--task", "bare.jsonl", "--ablation", "zero", "--method", "eap", "--edges", 60)
    assert acdc("plan", *words, "--no-probe").code == 0
    found = acdc("discover", *words, "--out", "r", "--verify", "full")
    assert found.code == 0, found.err
    report = json.loads(Path("r/verification.json").read_text())
    assert report["measures"]["logit_diff"]["corrupted"] is None
    assert report["measures"]["logit_diff"]["faithfulness"] is not None
    left_out = report["full_verification"]["left_out"]
    assert "needs corrupted prompts" in left_out["faithfulness under resample ablation"]
    measured = {one["ablation"] for one in report["full_verification"]["faithfulness"]}
    assert {"zero", "mean", "mean-positional"} <= measured and "resample" not in measured
    (example, *_) = json.loads(Path("r/examples.json").read_text())["rows"]
    assert example["corrupted"] is None and "corrupted run" in Path("r/report.html").read_text()
    assert acdc("show", "r").code == acdc("verify", "r").code == 0
    assert acdc("score", "--task", "bare.jsonl", "--ablation", "mean", "--out", "s").code == 0
    done = acdc("discover", *words[:4], "--limit", 4, "--threshold", 1, "--verify", "quick", "--out", "t")
    assert done.code == 0, done.err
