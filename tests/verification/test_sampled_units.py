"""Rows made from one prompt, or of one group, are no independent evidence."""

import json

import numpy as np
import pytest

from acdc.artefacts.verification.test_result import LEVEL
from acdc.task.rows import Row
from acdc.verification import statistics
from acdc.verification.intervals import Bootstrap, mean
from acdc.verification.sampled_units import SampledUnits


def row(name, prompt, group=None):
    return Row(str(name), (0, prompt, 1), (0, prompt, 2), (1,), (2,), 2, group)


def test_rows_of_one_prompt_are_a_unit():
    units = SampledUnits.of([row(i, prompt) for i, prompt in enumerate([5, 6, 5, 7, 6, 5])])
    assert units.unit == "prompt" and units.of_row.tolist() == [0, 1, 0, 2, 1, 0] and units.count == 3
    assert units.means(np.array([3.0, 1.0, 6.0, 9.0, 2.0, 0.0])).tolist() == [3.0, 1.5, 9.0]
    assert units.record.text == "3 prompts of 6 rows were resampled, as rows share them"


def test_rows_of_one_group_are_a_unit_where_there_are_enough_groups():
    many = SampledUnits.of([row(i, i, f"document {i // 3}") for i in range(30)])
    assert (many.unit, many.count) == ("group", 10)
    joined = SampledUnits.of([row(i, i if i else 3, f"document {i // 3}") for i in range(30)])
    assert joined.count == 9, "two documents share a prompt"
    few = SampledUnits.of([row(i, i, f"template {i % 4}") for i in range(30)])
    assert (few.unit, few.count, few.too_few) == ("row", 30, 4)
    assert few.record.text.endswith("they share 4 groups, too few to resample: results hold for rows of these groups")
    alone = SampledUnits.of([row(i, i, f"group {i}") for i in range(30)])
    assert (alone.unit, alone.too_few) == ("row", 0)


def test_single_rows_are_resampled_as_ever():
    values = np.random.default_rng(1).normal(size=16)
    found = Bootstrap(SampledUnits.of([row(i, i) for i in range(16)]), 3).of(mean, values)
    drawn = np.random.default_rng(3).integers(16, size=(2000, 16))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_the_bootstrap_draws_whole_units():
    """Against a loop over draws of units of unlike sizes."""
    prompts = [0, 0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8]
    units, values = SampledUnits.of([row(i, p) for i, p in enumerate(prompts)]), np.arange(14.0) ** 2
    found = Bootstrap(units, 0).of(mean, values)
    of_unit = [[v for v, p in zip(values, prompts, strict=True) if p == unit] for unit in range(9)]
    spread = [
        np.mean([value for unit in drawn for value in of_unit[unit]])
        for drawn in np.random.default_rng(0).integers(9, size=(2000, 9))
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(spread, [0.025, 0.975])))
    assert found.value == pytest.approx(values.mean())
    assert Bootstrap(SampledUnits.of([row(i, i // 4) for i in range(16)]), 0).of(mean, np.arange(16.0)).low is None


def copies(generator, prompts=24, positions=8):
    """Differences that have one value for a prompt, whatever the position."""
    values = np.repeat(generator.normal(size=prompts), positions) + 0.01 * generator.normal(size=prompts * positions)
    return values, [row(i, i // positions) for i in range(len(values))]


def test_intervals_cover_what_they_claim_where_rows_share_prompts():
    """The mean is 0: intervals over rows miss it in most data sets, those over prompts in about one of twenty."""
    missed = {"prompts": 0, "rows": 0}
    for seed in range(200):
        values, rows = copies(np.random.default_rng(seed))
        for name, units in (("prompts", SampledUnits.of(rows)), ("rows", len(rows))):
            found = Bootstrap(units, 0, resamples=400).of(mean, values)
            missed[name] += not found.low <= 0 <= found.high
    assert missed["prompts"] <= 26 and missed["rows"] > 80


def test_tests_reject_as_often_as_their_level_allows_where_rows_share_prompts():
    rejected = {"prompts": 0, "rows": 0}
    for seed in range(200):
        values, rows = copies(np.random.default_rng(seed))
        units = SampledUnits.of(rows)
        rejected["prompts"] += statistics.equivalence(units.means(values), np.zeros(units.count)).p <= LEVEL
        rejected["rows"] += statistics.equivalence(values, np.zeros(len(values))).p <= LEVEL
    assert rejected["prompts"] <= 16 < rejected["rows"], "a binomial count with 5 % is rarely larger"


@pytest.mark.thorough
def test_a_run_says_what_was_resampled(acdc, tmp_path):
    """Every prompt at two positions: tests have half as many units as rows, and power accordingly."""
    lines = [
        {"clean": [0, 20 + i, 30, 20 + i, 40], "corrupted": [0, 20 + i, 30, 50, 40], "answer_position": at}
        for i in range(20)
        for at in (3, 4)
    ]
    (tmp_path / "positions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    acdc(
        "discover", "--task", "positions.jsonl", "--method", "exact", "--edges", 30, "--out", "run", "--verify", "none"
    )
    assert acdc("verify", "run").code == 0
    shown = acdc("show", "run").out
    assert "intervals and tests: 10 prompts of 20 rows were resampled, as rows share them" in shown
    full = json.loads((tmp_path / "run/verification.json").read_text())["full_verification"]
    assert full["sampling"] == {"unit": "prompt", "units": 10, "rows": 20, "too_few_groups": 0}
    tests = {test["name"]: test for test in full["tests"]}
    assert (tests["independence"]["n"], tests["independence"]["unit"]) == (10, "prompt")
    assert "over prompts" in (tmp_path / "run/report.html").read_text()
