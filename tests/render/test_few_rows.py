"""What few rows can show: nothing."""

import numpy as np
import pytest
from circuits import quick_report, random_circuit

from acdc.artefacts.verification.sampling import FEWEST_UNITS
from acdc.artefacts.verification.test_result import TestResult
from acdc.render.few_rows import too_few
from acdc.render.verdict import Standing, claims, result_text
from acdc.verification.intervals import Bootstrap, mean
from acdc.verification.statistics import equivalence


@pytest.mark.parametrize("rows", [1, 2, FEWEST_UNITS - 1, FEWEST_UNITS])
def test_every_claim_on_few_rows_is_open(rows):
    circuit, _ = random_circuit(6)
    report = quick_report(circuit).model_copy(update={"rows": rows})
    found = claims(circuit, report)
    few = rows < FEWEST_UNITS
    assert bool(too_few(report)) is few
    assert all(claim.standing is Standing.open for claim in found) or not few
    assert ("too few for any claim" in found[0].text) is few


@pytest.mark.parametrize("rows", [FEWEST_UNITS - 1, FEWEST_UNITS])
def test_few_rows_have_no_interval(rows):
    found = Bootstrap(rows, seed=0).of(mean, np.arange(rows, dtype=float))
    assert (found.low is None) == (rows < FEWEST_UNITS) and found.value == (rows - 1) / 2


def test_a_test_that_cannot_reject_says_so_and_sizes_have_units():
    found = equivalence(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert found.size == "2 rows" and result_text(found) == "2 rows are too few for this test, whatever the result"
    drawn = TestResult(name="sufficiency", null="", measures="", n=240)
    assert drawn.size == "240 circuits"
