"""What a verification says of a feature circuit, against runs of the same circuits by themselves."""

import numpy as np
import pytest
from families import boot, random_rows
from test_feature_circuits import PLACED, transcoders

from acdc.artefacts.feature_circuit import FeatureCircuitRecord
from acdc.errors import InputError
from acdc.feature_circuits.circuits import Errors
from acdc.feature_circuits.discover import FeatureSettings, discover_features
from acdc.feature_circuits.effects import EffectMethod
from acdc.feature_circuits.nodes import FeatureNode
from acdc.feature_circuits.record import dictionary_record, to_record
from acdc.feature_circuits.runs import FeatureAblation, FeatureRuns
from acdc.feature_circuits.verification import RANDOM, verify_features
from acdc.options import Extent, Scope
from acdc.task.metrics import METRICS

TASK = random_rows([6, 9, 9, 7, 8, 6, 9, 7, 8, 9, 6, 7])
UNSEEN = range(4, 12)


@pytest.fixture(scope="module")
def gpt2():
    return boot("gpt2", 2, 0)


def circuit(model, dictionary, task=TASK, limit=4, **changes) -> FeatureCircuitRecord:
    settings = FeatureSettings(**({"method": EffectMethod.attrib, "nodes": 6, "limit": limit} | changes))
    found = discover_features(model, dictionary, task, settings)
    return to_record(found, model, task, dictionary_record(dictionary, "here"), settings)


def runs(model, dictionary, ablation=FeatureAblation.resample, rows=UNSEEN, **more):
    return FeatureRuns(model, dictionary, TASK, rows, METRICS.find("logit_diff"), ablation, **more)


@pytest.mark.parametrize("errors", Errors)
def test_measures_removals_and_random_circuits(gpt2, errors):
    dictionary = transcoders()
    record = circuit(gpt2, dictionary, errors=errors)
    nodes = [FeatureNode.parse(node.id, dictionary) for node in record.nodes]
    report, one = verify_features(gpt2, dictionary, TASK, record), runs(gpt2, dictionary)
    gone = errors is not Errors.keep

    def mean(some):
        return float(one.measure([one.only(some, gone)])[0].mean())

    own = report.measures["logit_diff"]
    assert report.rows == report.unseen == 8 and report.complete
    assert own.full == pytest.approx(one.full(), rel=1e-12)
    assert own.circuit == pytest.approx(mean(nodes), rel=1e-12)
    assert own.empty == pytest.approx(mean([]), rel=1e-12)
    assert own.faithfulness == pytest.approx((mean(nodes) - mean([])) / (one.full() - mean([])), rel=1e-9)
    if errors is Errors.keep:
        assert own.complement == pytest.approx(float(one.measure([one.without(nodes)])[0].mean()), rel=1e-12)
    assert {"kl", "nll", "accuracy"} <= set(report.measures)
    assert [removal.id for removal in report.removals] == [node.id for node in record.nodes]
    for removal, node in zip(report.removals, nodes, strict=True):
        without = mean([other for other in nodes if other != node]) - own.circuit
        assert removal.change == pytest.approx(without, abs=1e-12)
        assert removal.hurts == (-without > report.tolerance)
    assert report.sample.is_whole and report.random.edges == [6] * RANDOM
    shares = report.random.faithfulness
    assert len(set(shares)) > 1
    interval = report.full_verification.faithfulness[0].denoised
    assert interval.low < interval.value < interval.high
    assert interval.value == pytest.approx(own.faithfulness, rel=1e-9)
    assert verify_features(gpt2, dictionary, TASK, record) == report


def test_in_full(gpt2):
    """Under other ablations, of which means are those of the discovery rows; and after the same knockouts."""
    dictionary = transcoders()
    record = circuit(gpt2, dictionary)
    nodes = [FeatureNode.parse(node.id, dictionary) for node in record.nodes]
    report = verify_features(gpt2, dictionary, TASK, record, Scope(Extent.full))
    found = {(f.ablation, f.metric): f for f in report.full_verification.faithfulness}
    means = runs(gpt2, dictionary, FeatureAblation.mean, rows=range(4)).means
    for ablation in (FeatureAblation.mean, FeatureAblation.zero):
        one = runs(gpt2, dictionary, ablation, means=means if ablation is FeatureAblation.mean else None)
        kept, gone, empty = (
            float(one.measure([removed])[0].mean())
            for removed in (one.only(nodes, False), one.without(nodes), one.only([], False))
        )
        span = one.full() - empty
        effect = found[ablation.value, "logit_diff"]
        assert effect.denoised.value == pytest.approx((kept - empty) / span, rel=1e-9)
        assert effect.noised.value == pytest.approx(1 - (gone - empty) / span, rel=1e-9)
    complete, one = report.full_verification.completeness, runs(gpt2, dictionary)
    assert complete.knockouts == 20 + len(nodes)
    singles = [
        abs(
            float(one.measure([one.only([other for other in nodes if other != node], False)])[0].mean())
            - float(one.measure([one.without([node])])[0].mean())
        )
        for node in nodes
    ]
    assert abs(complete.worst.circuit - complete.worst.model) >= max(singles) - 1e-12
    assert {test.name for test in report.full_verification.tests} == {
        "equivalence",
        "indistinguishable",
        "independence",
    }


def test_at_places(gpt2):
    dictionary = transcoders()
    record = circuit(gpt2, dictionary, PLACED, limit=2, by_position=True)
    assert record.places == ("rest", "early", "late") and record.spans_hash == PLACED.spans_hash()
    assert all("@" in node.id for node in record.nodes)
    report = verify_features(gpt2, dictionary, PLACED, record, Scope(Extent.quick))
    one = FeatureRuns(gpt2, dictionary, PLACED, [2, 3], METRICS.find("logit_diff"), by_position=True)
    nodes = [FeatureNode.parse(node.id, dictionary) for node in record.nodes]
    expected = float(one.measure([one.only(nodes, False)])[0].mean())
    assert report.measures["logit_diff"].circuit == pytest.approx(expected, rel=1e-12)
    assert report.random is None and not report.removals


def test_scopes(gpt2):
    dictionary = transcoders()
    record = circuit(gpt2, dictionary)
    some = verify_features(gpt2, dictionary, TASK, record, Scope(Extent.quick, 3))
    assert (some.rows, some.unseen, some.most_rows) == (3, 8, 3)
    assert not some.covers(Scope(Extent.standard, 3)) and some.covers(Scope(Extent.quick, 2))
    everything = circuit(gpt2, dictionary, limit=len(TASK.rows))
    none = verify_features(gpt2, dictionary, TASK, everything)
    assert none.rows == 0 and "discovery used all 12 rows" in none.reason
    assert np.isfinite(everything.discovery.faithfulness)


def test_what_it_was_not_found_with(gpt2):
    dictionary = transcoders()
    record = circuit(gpt2, dictionary)
    with pytest.raises(InputError, match="of another model"):
        verify_features(boot("gpt2", 2, 1), dictionary, TASK, record)
    with pytest.raises(InputError, match="found on other rows"):
        verify_features(gpt2, dictionary, random_rows([6, 9]), record)
    other = record.model_copy(update={"dictionary": record.dictionary.model_copy(update={"digest": "0"})})
    with pytest.raises(InputError, match="of another dictionary"):
        verify_features(gpt2, dictionary, TASK, other)
