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
            found.append(
                Faithfulness(
                    ablation=ablation,
                    metric=metric.name,
                    denoised=bootstrap.of(recovered, circuit, whole, nothing),
                    noised=bootstrap.of(lambda *means: 1 - recovered(*means), complement, whole, nothing),
                )
            )
    return found
