"""What a preview says that the search itself will take."""

from dataclasses import dataclass

from acdc.model.load import Model
from acdc.search.pace import Pace, widths
from acdc.search.preview import Preview
from acdc.search.slot_cost import Scale


@dataclass(frozen=True)
class Forecast:
    tests: int
    tried: int
    kept: int
    flops: float
    units: float


def forecast(preview: Preview, scale: Scale, model: Model) -> Forecast:
    pace, tests, tried, kept, flops, units = Pace(), 0, 0, 0, 0.0, 0.0
    for receiver in preview.receivers:
        cost = receiver.cost.scaled(scale)
        trials = 0
        here = 0
        for width, after in widths(receiver.kept, cost.trial(model), pace):
            trials, here, pace = trials + 1, here + width, after
        tests += len(receiver.kept)
        kept += sum(receiver.kept)
        tried += here
        flops += (here + receiver.settling) * cost.each
        units += (trials + receiver.settling) * cost.fixed + (here + receiver.settling) * cost.each
    return Forecast(tests, tried, kept, flops, units)
