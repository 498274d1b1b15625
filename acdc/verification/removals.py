"""What each edge of a circuit does: the circuit without it, by what the removal reaches, not by runs of the whole."""

from collections.abc import Iterator

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants, measure_variants
from acdc.progress import Advance, nobody


def without_each(
    behaviour: Behaviour, kept: np.ndarray, edges: np.ndarray, advance: Advance = nobody
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The behaviour's metric of a circuit, boolean [edges], without each of some of its edges, given by their places:
    pairs of (some of the edges, float64 [those edges, rows]). `advance`: see `measure_variants`."""
    at = 0
    for values in measure_variants(behaviour, Variants(kept, list(edges[:, None])), advance=advance):
        yield edges[at : at + values.shape[1]], values[0]
        at += values.shape[1]
