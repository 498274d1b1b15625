"""What patching costs, known from shapes before anything runs, and how many rows it may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acdc.model.load import Model
from acdc.patching.sites import Site, units
from acdc.task.rows import Row
from acdc.verification.budget import Costs

MOST_FLOPS = 2e13  # without a limit on the rows: some minutes on two cores
FEWEST_ROWS = 8


@dataclass(frozen=True)
class Cost:
    """`runs`: patched runs of one row each, on `rows` of the task's `available` ones; `flops` of all of it."""

    runs: int
    rows: int
    available: int
    flops: float


def affordable(
    model: Model, rows: Sequence[Row], columns: Mapping[Site, int], times: int, limited: bool, available: int
) -> Cost:
    """Maps of some sites with so many columns each, all of it so many `times`: on all of these rows where their number
    was chosen, else on as many as `MOST_FLOPS` allows, and never fewer than `FEWEST_ROWS`."""
    layers = model.anatomy.n_layers
    cells = {site: count * len(units(site, model.anatomy)) * times for site, count in columns.items()}
    # a patch of a layer leaves what is before it alone
    runs, passes = sum(cells.values()) * layers, sum(cells.values()) * (layers + 1) / 2
    each = Costs.of(model, model.graph, rows).plain * (passes + 4 * times)
    most = len(rows) if limited else min(len(rows), max(FEWEST_ROWS, int(MOST_FLOPS / each)))
    return Cost(runs * most, most, available, each * most)
