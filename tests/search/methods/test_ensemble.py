"""The mean of several scores, and masks that start from scores."""

import numpy as np
import pytest

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.options import Level
from acdc.progress import silent
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import eap_ig_activations, eap_ig_inputs
from acdc.search.methods.edge_pruning import edge_pruning
from acdc.search.methods.ensemble import ensemble
from acdc.search.methods.masks import MOST_AHEAD, head_start
from acdc.search.methods.subnetwork_probing import subnetwork_probing
from acdc.search.methods.ugs import ugs
from acdc.search.options import EnsembleOptions, IntegralOptions, MaskOptions
from acdc.task.metrics import METRICS


@pytest.fixture(scope="module")
def behaviour(trio, induction):
    return Behaviour(trio, induction, range(8), METRICS["logit_diff"])


@pytest.mark.parametrize("level", [Level.edges, Level.coordinates])
def test_the_mean_of_scores_of_one_size(behaviour, level):
    options = EnsembleOptions(level=level, steps=3)
    found = ensemble(behaviour, options, silent)
    parts = [method(behaviour, options, silent).values for method in (eap, eap_ig_inputs, eap_ig_activations)]
    sizes = [np.abs(part).mean() for part in parts]
    expected = sum(part * sizes[1] / size / 3 for part, size in zip(parts, sizes, strict=True))
    assert found.values == pytest.approx(expected, abs=1e-12) and found.kind == "effect"
    assert not np.allclose(found.values, parts[1])


@pytest.mark.parametrize("metric", ["logit_diff", "nll"])
def test_masks_count_for_what_they_keep(trio, induction, metric):
    behaviour = Behaviour(trio, induction, range(4), METRICS[metric])
    without, with_masks = (ensemble(behaviour, EnsembleOptions(masks=n, seed=2), silent).values for n in (0, 6))
    masks = ugs(behaviour, MaskOptions(updates=6, warm_start=True, seed=2), silent).values
    size = np.abs(eap_ig_inputs(behaviour, IntegralOptions(), silent).values).mean()
    helps = METRICS[metric].sign * (with_masks - 0.75 * without)
    assert helps == pytest.approx(0.25 * size * masks / masks.mean(), abs=1e-9) and (helps > 0).all()


def test_masks_are_of_edges(behaviour):
    with pytest.raises(InputError, match="--masks works only with --level edges"):
        ensemble(behaviour, EnsembleOptions(masks=5, level=Level.nodes), silent)


def test_masks_start_the_more_open_the_more_an_edge_helps(behaviour):
    ahead = head_start(behaviour, 0, silent).numpy()
    helps = -eap_ig_inputs(behaviour, IntegralOptions(), silent).values  # of a metric that is better when larger
    assert (np.diff(ahead[np.argsort(helps)]) >= 0).all()
    assert ahead.max() == pytest.approx(MOST_AHEAD) and (ahead[helps <= 0] == pytest.approx(-MOST_AHEAD))
    between = (helps > 0) & (np.abs(ahead) < MOST_AHEAD)
    ratios = np.exp(ahead[between]) / (helps[between] / np.abs(helps).mean())
    assert between.sum() > 20 and ratios == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("method", [subnetwork_probing, edge_pruning, ugs])
def test_a_warm_start_ranks_before_anything_is_learned(behaviour, method):
    """After one update, what helps is ahead; from a cold start all masks are nearly alike."""
    helps = -eap_ig_inputs(behaviour, IntegralOptions(), silent).values
    best, worst = helps >= np.sort(helps)[-20], helps <= 0
    cold, warm = (method(behaviour, MaskOptions(updates=1, warm_start=w), silent).values for w in (False, True))
    assert warm[best].min() > warm[worst].max() + 0.05
    assert abs(cold[best].mean() - cold[worst].mean()) < 0.5 * (warm[best].mean() - warm[worst].mean())
