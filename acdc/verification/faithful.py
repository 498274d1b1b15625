"""How much of a behaviour a circuit carries: every metric, under every ablation, with intervals, and over all sizes."""

from collections.abc import Mapping, Sequence

import numpy as np

from acdc.artefacts.verification.faithfulness import Faithfulness
from acdc.behaviour.behaviour import Behaviour
from acdc.graph.masks import Mask, concatenate
from acdc.progress import Advance
from acdc.task.metrics import Metric
from acdc.verification.intervals import Bootstrap, recovered


def measure_ablations(
    behaviours: Mapping[str, Behaviour],
    ablated: Mask,
    own: Mask,
    metrics: Sequence[Metric],
    bootstrap: Bootstrap,
    advance: Advance,
) -> list[Faithfulness]:
    """A circuit, given by all that is not in it and by what is its own, under the ablation of each behaviour."""
    found = []
    for ablation, behaviour in behaviours.items():
        everything = np.ones((1, behaviour.graph.n_edges), dtype=bool)
        runs = behaviour.measure(concatenate([ablated, own]), metrics, advance)
        empty = behaviour.measure(everything, metrics, advance)[:, 0]
        full = behaviour.plain(metrics)
        for metric, (circuit, complement), nothing, whole in zip(metrics, runs, empty, full, strict=True):
            found.append(faithfulness_of(ablation, metric, (circuit, complement, nothing, whole), bootstrap))
    return found


def faithfulness_of(
    ablation: str, metric: Metric, values: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], bootstrap: Bootstrap
) -> Faithfulness:
    """From `values` of the metric, [rows] each: of the circuit, its complement, the empty circuit and the model."""
    circuit, complement, empty, full = values
    return Faithfulness(
        ablation=ablation,
        metric=metric.name,
        denoised=bootstrap.of(recovered, circuit, full, empty),
        noised=bootstrap.of(lambda *means: 1 - recovered(*means), complement, full, empty),
    )


def only_under(faithfulness: Sequence[Faithfulness], metric: str) -> list[str] | None:
    """The ablations under which a circuit is faithful by a metric; None where that is all."""
    own = [found for found in faithfulness if found.metric == metric and found.denoised.value is not None]
    holding = [found.ablation for found in own if found.holds]
    return None if len(holding) == len(own) else holding
