"""Whether anything of a behaviour is outside its circuit (Wang et al. 2022, arXiv 2211.00593, section 4).

A complete circuit behaves like the model whatever is knocked out of both: the metric of the circuit without some of its
parts is that of the model without them. Knocked out are random halves of the circuit's parts, and single ones.
"""

import numpy as np

from acdc.artefacts.verification.completeness import Completeness, Knockout
from acdc.artefacts.verification.interval import Interval
from acdc.behaviour.behaviour import Behaviour
from acdc.progress import Advance
from acdc.verification.intervals import Bootstrap, mean

SUBSETS = 20


def knockouts(edges: int) -> int:
    """How many are made of a circuit of so many edges."""
    return SUBSETS + min(SUBSETS, edges)


def measure_completeness(
    behaviour: Behaviour,
    own: np.ndarray,
    seed: int,
    span: float,
    bootstrap: Bootstrap,
    advance: Advance,
) -> Completeness | None:
    """Of a circuit of edges, boolean [edges]; None for an empty one. `span`: |full - empty| of the metric."""
    places = np.flatnonzero(own)
    if not len(places):
        return None
    out = knocked_out(places, len(own), np.random.default_rng(seed))
    circuit, model = (behaviour.measure(removed, advance=advance)[0] for removed in (~own | out, out))
    return completeness_of(out.sum(axis=1), circuit, model, span, bootstrap)


def completeness_of(
    removed: np.ndarray, circuit: np.ndarray, model: np.ndarray, span: float, bootstrap: Bootstrap
) -> Completeness:
    """From the metric of circuit and model after the same knockouts, [knockouts, rows], of `removed` parts each."""
    differences = np.abs(circuit.mean(axis=1) - model.mean(axis=1))
    worst = int(differences.argmax())
    # the sign of each knockout's difference is that over all rows, so that the mean is of the same quantity
    signed = (np.sign(circuit.mean(axis=1) - model.mean(axis=1))[:, None] * (circuit - model)).mean(axis=0)
    return Completeness(
        knockouts=len(removed),
        difference=bootstrap.of(mean, signed),
        share=bootstrap.of(mean, signed / span) if span else Interval(low=None, value=None, high=None),
        worst=Knockout(
            removed=int(removed[worst]), circuit=float(circuit[worst].mean()), model=float(model[worst].mean())
        ),
    )


def knocked_out(places: np.ndarray, edges: int, generator: np.random.Generator) -> np.ndarray:
    """Boolean [knockouts, edges]: random halves of a circuit's edges, then as many single ones."""
    out = np.zeros((knockouts(len(places)), edges), dtype=bool)
    for row in out[:SUBSETS]:
        row[places[generator.random(len(places)) < 0.5]] = True
    single = generator.choice(places, len(out) - SUBSETS, replace=False)
    out[np.arange(SUBSETS, len(out)), single] = True
    return out
