"""How much of a behaviour a circuit carries: every metric, under every ablation, with intervals, and over all sizes."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from acdc.behaviour.behaviour import Behaviour
from acdc.progress import Advance
from acdc.task.metrics import Metric
from acdc.verification.intervals import Bootstrap, Interval, recovered

FAITHFUL = 0.8  # recovered fraction, of the lower end of its interval, from which a circuit counts as faithful


class Faithfulness(BaseModel):
    """One metric under one ablation, as fractions of what lies between the empty circuit and the full model.

    `denoised`: what keeping the circuit alone recovers. `noised`: what ablating the circuit alone destroys, 1 where all
    is lost. Both are 1 for a circuit that does it all and that nothing stands in for.
    """

    model_config = ConfigDict(frozen=True)

    ablation: str
    metric: str
    denoised: Interval
    noised: Interval

    @property
    def holds(self) -> bool:
        """Whether the circuit is faithful by `FAITHFUL`, for certain: neither less than that, nor so much more."""
        found = self.denoised
        if found.low is None or found.high is None:
            return False
        return found.low >= FAITHFUL and found.high <= 2 - FAITHFUL


def measure_ablations(
    behaviours: Mapping[str, Behaviour],
    ablated: np.ndarray,
    own: np.ndarray,
    metrics: Sequence[Metric],
    bootstrap: Bootstrap,
    advance: Advance,
) -> list[Faithfulness]:
    """A circuit, given by all that is not in it and by what is its own, under the ablation of each behaviour."""
    found = []
    for ablation, behaviour in behaviours.items():
        everything = np.ones((1, behaviour.graph.n_edges), dtype=bool)
        runs = behaviour.measure(np.stack([ablated, own]), metrics, advance)
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
