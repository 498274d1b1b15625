"""What is wrong with jobs is said before any is run."""

from dataclasses import replace
from pathlib import Path

import pytest

from acdc.errors import InputErrors
from acdc.jobs.packing import check_jobs
from acdc.jobs.planned import plan_jobs
from acdc.jobs.spec import DiscoveryJob
from acdc.search.discover import DiscoverySettings

JOB = DiscoveryJob("trio", "induction", DiscoverySettings(method="eap", edges=12, limit=24))


@pytest.mark.parametrize("plan", [lambda jobs: plan_jobs(jobs, Path("out")), check_jobs])
def test_a_job_that_verifies_on_no_rows_is_refused_before_any_is_run(plan):
    jobs = [JOB, replace(JOB, verify_rows=0), replace(JOB, verify_rows=-1)]
    with pytest.raises(InputErrors) as refused:
        plan(jobs)
    told = [f"job {number}: --verify-rows {rows} must be at least 1" for number, rows in ((2, 0), (3, -1))]
    assert list(refused.value.problems) == told
