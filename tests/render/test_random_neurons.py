"""Whether what a trace kept does better than neurons drawn at random."""

import pytest

from acdc.artefacts.attribution.verification import KeptAlone
from acdc.render.attribution.sentences import _beats_random


@pytest.mark.parametrize("up", [1, -1], ids=["larger", "smaller"])
@pytest.mark.parametrize(
    ("units", "without", "beats"), [(0.19, 1.15, False), (0.6, 1.15, True), (0.19, 0.2, True), (0.25, 0.8, False)]
)
def test_kept_neurons_beat_random_ones_alone_or_by_their_absence(up, units, without, beats):
    one = KeptAlone(
        others="mean",
        count=9,
        full=up * 1.0,
        none=0.0,
        graph=up * 1.01,
        units=up * units,
        without=up * without,
        random_units=(up * 0.1, up * 0.3),
        random_without=(up * 0.7, up * 0.9),
    )
    assert _beats_random(one) is beats
