"""Jobs that find the same circuit are one, verified as far as any of them asks."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from conftest import thorough_but

from acdc.errors import InputErrors
from acdc.jobs.packing import check_jobs
from acdc.jobs.planned import plan_jobs
from acdc.options import Extent
from acdc.runs.spec import DiscoveryJob
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

JOB = DiscoveryJob("trio", "induction", DiscoverySettings(method=METHODS["eap"], edges=12, limit=24))
NONE, QUICK, STANDARD, FULL = Extent


@pytest.mark.thorough
@pytest.mark.parametrize(
    "asked, expected",
    [
        ([(NONE, None), (QUICK, None), (FULL, None), (STANDARD, None)], (FULL, None)),
        ([(QUICK, 4), (QUICK, 10), (QUICK, 8)], (QUICK, 10)),
        ([(STANDARD, 4), (STANDARD, None)], (STANDARD, None)),
        ([(FULL, 4), (QUICK, 8)], (FULL, 8)),
        ([(NONE, None), (STANDARD, 4)], (STANDARD, 4)),
        ([(NONE, 100), (QUICK, 4), (STANDARD, 3)], (STANDARD, 4)),
        ([(NONE, 3), (NONE, None)], (NONE, None)),
    ],
)
def test_equal_jobs_are_verified_as_far_as_any_of_them_asks(tmp_path, asked, expected):
    for order in permutations(asked):
        jobs = [replace(JOB, verify=extent, verify_rows=rows) for extent, rows in order]
        (planned,) = plan_jobs(jobs, tmp_path)
        assert (planned.job.verify, planned.job.verify_rows) == expected, order


EXTENTS, ROWS = 'verify = ["none", "quick"]', 'verify = "quick"\nverify-rows = [8, 16]'


@pytest.mark.parametrize(
    ("turned", "options"),
    thorough_but([(False, EXTENTS), (True, ROWS)], [(turned, o) for turned in (False, True) for o in (EXTENTS, ROWS)]),
)
def test_a_grid_of_verifications_is_one_run(acdc, options, turned):
    table = '[[jobs]]\ntask = "induction"\nmethod = "eap"\nedges = 12\nlimit = 24\n'
    if turned:
        options = options.replace('"none", "quick"', '"quick", "none"').replace("8, 16", "16, 8")
    Path("jobs.toml").write_text(table + options)
    found = acdc("run", "jobs.toml", "--out", "out", "--json")
    assert found.code == 0, found.err
    (job,) = found.json["jobs"]
    rows = ("--verify-rows", 16) if "rows" in options else ()
    alone = ("discover", "--task", "induction", "--method", "eap", "--edges", 12, "--limit", 24, "--verify", "quick")
    assert acdc(*alone, *rows, "--out", "alone").code == 0
    for name in ("verification.json", "report.html"):
        assert (Path(job["run"]) / name).read_bytes() == (Path("alone") / name).read_bytes()
    assert "1 of 1 job was finished before" in acdc("run", "jobs.toml", "--out", "out").err


@pytest.mark.parametrize("plan", [lambda jobs: plan_jobs(jobs, Path("out")), check_jobs])
def test_a_job_that_verifies_on_no_rows_is_refused_before_any_is_run(plan):
    jobs = [JOB, replace(JOB, verify_rows=0), replace(JOB, verify_rows=-1)]
    with pytest.raises(InputErrors) as refused:
        plan(jobs)
    told = [f"job {number}: --verify-rows {rows} must be at least 1" for number, rows in ((2, 0), (3, -1))]
    assert list(refused.value.problems) == told
