"""Plans of whole job files."""

import json
from pathlib import Path

import pytest

from acdc.errors import InputError
from acdc.jobs.jobs_file import make_jobs
from acdc.jobs.makespan import READING, STARTING, plan_file
from acdc.planning.machines import Machine

H100 = Machine.parse("h100")
SCORED = {"task": "induction", "method": "eap", "edges": 9, "limit": 16, "verify": "none", "threads": 1}


def planned(tables, workers=None, machine=H100, **named):
    return plan_file(make_jobs({}, tables, Path()), workers, machine, probing=False, **named)


def test_equal_jobs_count_once_and_seeds_are_planned_together():
    said = []
    found = planned(
        [{**SCORED, "seed": [0, 1, 2]}, {**SCORED, "seed": 2}, {**SCORED, "method": "relp"}], say=said.append
    )
    assert [(plan.method.name, count) for plan, count in found.plans] == [("eap", 3), ("relp", 1)] and found.jobs == 4
    assert said == ["planning 2 jobs: 4 less those that differ in their seed alone"]


def test_a_thousand_jobs_on_64_workers_take_16_rounds():
    found = planned([{**SCORED, "seed": list(range(1000))}], workers=64)
    ((plan, count),) = found.plans
    loading = plan.search.memory.weights / READING
    assert count == 1000 and found.starting == STARTING
    assert found.likely.seconds >= 16 * plan.likely.seconds + loading
    assert found.least.seconds == found.likely.seconds == found.most.seconds, (
        "no search of these depends on what it finds"
    )


def test_one_after_the_other_in_one_process():
    found = planned([{**SCORED, "seed": list(range(10))}])
    ((plan, _),) = found.plans
    assert found.likely.seconds == pytest.approx(10 * plan.likely.seconds + plan.search.memory.weights / READING)
    assert found.starting == 0 and found.likely.busy == pytest.approx(1.0)


def test_what_is_unknown_lies_between_bounds():
    found = planned([{"task": "induction", "limit": 8, "threshold": 0.1, "threads": 1}], workers=2)
    assert found.least.seconds < found.likely.seconds < found.most.seconds


def test_half_of_a_gpu_takes_longer():
    job = [{**SCORED, "seed": [0, 1]}]
    whole, half = (planned(job, 2, Machine.parse(name)) for name in ("h100", "0.5xh100"))
    assert whole.likely.seconds <= half.likely.seconds
    assert half.plans[0][0].free == H100.memory // 2


def test_workers_share_the_cores_of_this_machine(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    found = planned([{**SCORED, "seed": list(range(16))}], workers=8, machine=None)
    ((plan, _),) = found.plans
    alone = plan.likely.seconds
    assert found.likely.seconds == pytest.approx(16 * alone / 2, rel=0.5, abs=0.5)


def test_what_cannot_be_planned_is_refused(tmp_path):
    with pytest.raises(InputError, match="job 2: .*polish"):
        planned([SCORED, {"task": "induction", "polish": True}], where="")
    with pytest.raises(InputError, match="--workers 0"):
        planned([SCORED], workers=0)


def test_the_command(acdc):
    Path("jobs.toml").write_text(
        "[[jobs]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in SCORED.items()) + "seed = [0, 1]"
    )
    words = ("plan", "jobs.toml", "--machine", "h100")
    said = acdc(*words, "--workers", 2).out
    assert "plan of 2 jobs of jobs.toml on 2 workers" in said and "Each worker has h100 to itself." in " ".join(
        said.split()
    )
    record = acdc(*words, "--json").json
    assert record["jobs"] == 2 and record["workers"] is None and record["plans"][0]["count"] == 2
    for extra, message in (
        (("jobs.toml", "--seed", 1), "--seed does not go with a job file: write it into jobs.toml"),
        (("--workers", 2), "--workers needs a job file"),
        (("none.toml",), "none.toml"),
    ):
        refused = acdc("plan", *extra)
        assert refused.code == 2 and message in refused.err and refused.err.count("\n") == 1
