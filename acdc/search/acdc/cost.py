"""What ACDC and the methods that repeat or restrict it cost on a batch, between bounds."""

from collections.abc import Callable

from acdc.graph.units import kind_of
from acdc.progress import silent
from acdc.search.acdc.polish import can_polish, most_runs
from acdc.search.acdc.to_faithfulness import MOST
from acdc.search.acdc.widths import pass_bytes, widest
from acdc.search.cost import BatchCost, BatchDryRun, Run
from acdc.search.methods.tested_neurons import number_of_tests, ranking
from acdc.search.options import OrderOptions


def acdc_cost(dry: BatchDryRun, run: Run, options: OrderOptions) -> BatchCost:
    """Of testing every edge or node, or the neurons that are tested."""
    units = dry.behaviour.units(options.level)
    tests = number_of_tests(units, options)
    if tests == units.count:
        return cost_of_tests(dry, run, options, tests)
    return cost_of_tests(dry, run, options, tests, lambda: ranking(dry.behaviour, options, silent))


def cost_of_tests(
    dry: BatchDryRun, run: Run, options: OrderOptions, tests: int, propose: Callable[[], object] = lambda: None
) -> BatchCost:
    """Of at most so many `tests` of what an earlier step proposes.

    From nothing kept, which is what the dry run comes to as every measure is alike, to one run of the whole model for
    every test, which is what the naive algorithm takes; to two where passes are such runs, as of candidates tried
    together the results after a kept one are lost. A faithfulness takes that as often as thresholds are tried at most,
    and as many polishes.
    """
    behaviour = dry.behaviour
    ends = dry.of(behaviour.empty)
    searches = 1 if options.faithfulness is None else MOST
    polished = options.faithfulness is not None and can_polish(behaviour, options.level)
    options = options.model_copy(update={"threshold": 1.0, "faithfulness": None})
    least = ends + dry.of(lambda: run(behaviour, options, silent))
    before = ends + dry.of(propose)
    (batch,) = behaviour.batches
    present = sum(block.numel() * block.element_size() for block in batch.clean.blocks)
    changed = min(pass_bytes(behaviour.model), widest(behaviour.model) * present)  # all that a candidate may change
    runs = searches * tests * (1 if kind_of(options.level).are_edges and not behaviour.executor.scaled_bias else 2)
    runs += searches * most_runs(tests) if polished else 0
    return dry.cost(least, before + dry.clean * runs, before, held=present, working=changed)
