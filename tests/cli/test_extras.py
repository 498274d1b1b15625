"""What a verification measures only if asked for, and the comparison of models, as commands."""

import json
from pathlib import Path

import pytest
from programs import (
    COPY_FIRST,
    COPY_PREVIOUS,
    COPY_TWO_BACK,
    SAYS_FIRST,
    SAYS_PREVIOUS,
    SAYS_TWO_BACK,
    programs,
)

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.report import Report
from acdc.render.report import to_html
from acdc.render.verdict import Standing, claims

FOUND = ("--dtype", "float64", "--split-embeddings", "--limit", 12)


@pytest.fixture
def runs(acdc, tmp_path):
    """Make runs of several programs: by the folder of the model, what it computes and what it says, by task."""

    def make(folder, operations, outputs, verify="none", **real):
        made = programs(tmp_path / folder, operations, list(outputs.values()), **real)
        for name, output in outputs.items():
            inputs = ("--model", folder, "--task", made.task_file(output, name))
            found = acdc("discover", *inputs, *FOUND, "--verify", verify, "--out", f"{folder}-{name}")
            assert found.code == 0, found.err

    return make


def standings(path):
    circuit, report = Circuit.load(path), Report.load(path)
    return {claim.name: claim.standing for claim in claims(circuit, report)}, to_html(circuit, report, "acdc")


def test_circuits_apart_are_specific(acdc, runs):
    runs("m", [COPY_PREVIOUS, COPY_FIRST], {"previous": SAYS_PREVIOUS, "first": SAYS_FIRST})
    asked = ("--against", "m-first", "--rivals", 2, "--bootstraps", 6)
    told = acdc("verify", "m-previous", "--verify", "quick", *asked)
    assert told.code == 0, told.err
    for words in (
        "acdc: repeating the discovery on 6 resamples of its 12 rows: about",
        "acdc: ablating 2 circuits on the unseen rows of 2 tasks: about 5 TFLOP for each task at most",
        "acdc: searching 2 times without edges of the circuit: about",
    ):
        assert words in told.err, words
    for words in (
        "bootstraps: two circuits found on resampled rows share 100.0% of their edges on average over 6 bootstraps "
        "(by searching again; 12 rows were resampled); with the circuit they share 100.0% to 100.0%",
        "specificity: share of each task's behaviour (across)",
        "ablating the circuit in the full model loses 100.0% [100.0%, 100.0%] of its own behaviour, previous, and 0.0% "
        "[0.0%, 0.0%] of first; of the circuits of other tasks, ablating that of first 0.0% [0.0%, 0.0%] of this",
        "of 2 searches without edges of the circuit that the model can do without, 2 find a circuit within 10.0%",
        "it shares 2 of the circuit's 2 edges (Jaccard 100.0%)",
    ):
        assert words in told.out, words
    found, page = standings("m-previous")
    assert found["specificity"] is Standing.shown and found["no rival circuit"] is Standing.open
    assert found["stability over resampled rows"] is Standing.shown
    assert all(f'id="{name}"' in page and f'href="#{name}"' in page for name in ("specificity", "rivals", "resamples"))
    kept = json.loads(Path("m-previous/verification.json").read_text())
    assert kept["specificity"]["tasks"][1] == {
        "name": "first",
        "metric": "logit_diff",
        "rows": 20,
        "edges": 2,
        "shared": 0,
    }
    assert acdc("verify", "m-previous", "--verify", "standard").code == 0
    after = json.loads(Path("m-previous/verification.json").read_text())
    assert {name: after[name] for name in ("specificity", "rivals", "bootstraps")} == {
        name: kept[name] for name in ("specificity", "rivals", "bootstraps")
    }


def test_circuits_that_share_a_head_are_not(acdc, runs):
    runs("m", [COPY_PREVIOUS, COPY_TWO_BACK], {"previous": SAYS_PREVIOUS, "two-back": SAYS_TWO_BACK})
    assert acdc("verify", "m-previous", "--verify", "quick", "--against", "m-two-back").code == 0
    found, page = standings("m-previous")
    assert found["specificity"] is Standing.not_shown and "two-back</button>" in page
    assert "resamples" not in Path("m-previous/verification.json").read_text()


def test_only_runs_of_other_tasks_in_the_same_model_are_set_against_each_other(acdc, runs):
    runs("m", [COPY_PREVIOUS, COPY_FIRST], {"previous": SAYS_PREVIOUS})
    runs("n", [COPY_FIRST], {"first": SAYS_FIRST})
    for other, words in (
        ("n-first", "--against n-first: it is of another model, n, and this run of m; 'acdc compare' compares models"),
        ("m-previous", "--against m-previous: it is of the same task, previous; name runs of others"),
        ("nowhere", "nowhere does not exist"),
    ):
        outcome = acdc("verify", "m-previous", "--against", other)
        assert outcome.code == 2 and words in outcome.err, outcome.err


def test_compare_tells_shared_roles_from_others(acdc, runs):
    """One model has the head of this task second, and a head of another task first."""
    both = {"previous": SAYS_PREVIOUS, "first": SAYS_FIRST}
    runs("m", [COPY_PREVIOUS, COPY_FIRST], both)
    runs("n", [COPY_FIRST, COPY_PREVIOUS], both, rotated=True)
    told = acdc("compare", "m-previous", "n-previous", "--unrelated", "n-first")
    assert told.code == 0, told.err
    assert "acdc: measuring the components of 3 circuits, at most about 10 TFLOP each" in told.err
    for words in (
        "in m-previous",
        "previous token",
        "1 role shared among the components, 1 of m-previous and 1 of n-previous: agreement 100.0%; shuffled roles",
        "of 1 such pair, 0 by at least as much",
        "of 1 pair of models, 0 share more roles than shuffled ones would (p at most 5%)",
    ):
        assert words in told.out, words
    found = acdc("compare", "m-previous", "n-previous", "--unrelated", "n-first", "--json").json
    (pair,), (other,) = found["pairs"], found["unrelated"]
    assert [(match["first"], match["second"]) for match in pair["matches"]] == [("a0.h0", "a0.h1")]
    assert pair["agreement"] == pytest.approx(1.0) and other["agreement"] < 0.9 and pair["chance"]["p"] == 1.0
    assert found == acdc("compare", "m-previous", "n-previous", "--unrelated", "n-first", "--json").json


def test_what_cannot_be_compared_is_refused(acdc, runs):
    runs("m", [COPY_PREVIOUS, COPY_FIRST], {"previous": SAYS_PREVIOUS, "first": SAYS_FIRST})
    runs("n", [COPY_PREVIOUS], {"previous": SAYS_PREVIOUS})
    for words, said in (
        (("m-previous",), "compare needs at least 2 runs, of one task in different models"),
        (("m-previous", "m-first"), "run m-first is of task 'first', run m-previous of 'previous'"),
        (("m-previous", "m-previous"), "are of one model: 'acdc diff' compares two circuits of a model"),
        (("m-previous", "n-previous", "--unrelated", "n-previous"), "it is of the same task, previous"),
        (("m-previous", "nowhere"), "run nowhere does not exist"),
    ):
        outcome = acdc("compare", *words)
        assert outcome.code == 2 and said in outcome.err and "Traceback" not in outcome.err, outcome.err
