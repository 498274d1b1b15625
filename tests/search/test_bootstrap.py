"""Which signs are certain, against resamples written out."""

import json

import numpy as np
import pytest

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.options import Choosing, Level
from acdc.progress import silent
from acdc.search.bootstrap import CERTAIN, certain_signs, signs_that_hold
from acdc.search.methods.eap import eap
from acdc.search.options import IntegralOptions, RowOptions
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS


def test_a_sign_is_certain_where_the_resampled_means_keep_it():
    generator = np.random.default_rng(0)
    scores = generator.normal(loc=generator.normal(size=300), size=(12, 300))
    found = signs_that_hold(lambda row: scores[row], rows=12, resamples=400, seed=5)
    drawn = np.random.default_rng(6).integers(12, size=(4000, 12))  # other resamples of the same rows
    means = scores[drawn].mean(axis=1)
    share = np.maximum((means > 0).mean(axis=0), (means < 0).mean(axis=0))
    clear = np.abs(share - CERTAIN) > 0.03  # beyond the noise of 400 resamples
    assert (found[clear] == (share >= CERTAIN)[clear]).all()
    assert 50 < found.sum() < 280 and clear.sum() > 200


def test_rows_without_any_effect_count_as_zero():
    scores = [np.array([1.0, 1.0]), None, np.array([1.0, -1.0]), None]
    assert signs_that_hold(scores.__getitem__, rows=4, resamples=500, seed=0).tolist() == [False, False]
    assert signs_that_hold([*scores[:1] * 9, None].__getitem__, rows=10, resamples=500, seed=0).all()


@pytest.mark.parametrize("method", sorted(name for name, method in METHODS.built_in.items() if method.row_means))
@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_scores_are_means_of_the_rows_alone(trio, induction, method, ablation):
    """What bootstrapping assumes of the methods that declare it."""
    behaviour, found = Behaviour(trio, induction, [4, 9, 2], METRICS["logit_diff"], ablation), METHODS[method]
    options = found.options(level=found.levels[0])
    together = found.run(behaviour, options, silent).values
    alone = [found.run(behaviour.alone(row), options, silent).values for row in range(3)]
    assert [behaviour.alone(row).rows[0].id for row in range(3)] == [row.id for row in behaviour.rows]
    assert np.mean(alone, axis=0) == pytest.approx(together, abs=1e-9 * np.abs(together).max())


@pytest.mark.parametrize("method", sorted(n for n, m in METHODS.built_in.items() if "absolute" in m.options.own()))
def test_absolute_scores_are_means_of_the_rows_absolute_scores(trio, induction, method):
    behaviour, found = Behaviour(trio, induction, [4, 9, 2], METRICS["logit_diff"], batch_size=2), METHODS[method]
    if not found.row_means:
        pytest.skip(f"{method} does not average over rows, but combines methods that do")
    together = found.run(behaviour, found.options(absolute=True), silent)
    alone = [found.run(behaviour.alone(row), found.options(), silent).values for row in range(3)]
    assert together.kind == "importance"
    assert np.abs(alone).mean(axis=0) == pytest.approx(together.values, abs=1e-6 * together.values.max())
    assert (together.values > 1.1 * np.abs(np.mean(alone, axis=0))).any()  # rows disagree


def test_absolute_scores_have_no_sign_and_are_of_edges(trio, induction):
    eap = METHODS["eap"]
    for wrong, message in (
        ({"choose": Choosing.signed}, "only rank"),
        ({"choose": Choosing.paths, "bootstrap": 10}, "--absolute"),
        ({"level": Level.nodes}, "--absolute works only with --level edges"),
    ):
        with pytest.raises(InputError, match=message):
            DiscoverySettings(eap, options={"absolute": True}, **wrong).check()


@pytest.mark.parametrize("level", [Level.edges, Level.nodes])
def test_signs_follow_from_a_method_row_by_row(trio, induction, level):
    behaviour = Behaviour(trio, induction, range(5), METRICS["logit_diff"])
    options = IntegralOptions(seed=3, level=level)
    found = certain_signs(behaviour, METHODS["eap"], options, 60, silent)
    again = certain_signs(behaviour, METHODS["eap"], options, 60, silent)
    assert (found == again).all() and found.any() and not found.all()
    if level is Level.edges:
        rows = [eap(behaviour.alone(row), RowOptions(), silent).values for row in range(5)]
        same = (np.sign(rows) == np.sign(rows[0])).all(axis=0) & (rows[0] != 0)
        assert (found | ~same).all()  # a sign that all rows share cannot be uncertain


def test_a_bootstrap_through_the_command_line(acdc, tmp_path):
    words = "discover --task induction --method eap --edges 30 --limit 8 --verify none --json --choose signed"
    assert acdc(*words.split(), "--out", "plain").code == 0
    done = acdc(*words.split(), "--bootstrap", 50, "--out", "r")
    assert done.code == 0, done.err
    selection = json.loads((tmp_path / "r/circuit.json").read_text())["method"]["selection"]
    assert selection["bootstrap"] == 50 and 0 < selection["certain"] < 479
    assert "bootstrap" not in json.loads((tmp_path / "plain/circuit.json").read_text())["method"]["selection"]
    assert (tmp_path / "r/scores.json").read_bytes() == (tmp_path / "plain/scores.json").read_bytes()
    assert acdc(*words.split(), "--bootstrap", 50, "--out", "r").code == 0  # resumed
    assert "bootstrap" in acdc(*words.split(), "--bootstrap", 60, "--out", "r").err
