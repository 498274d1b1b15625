"""What trying candidates of one slot costs: what a change there reaches through kept edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.required_positions import Required
from acdc.graph import WriterKind
from acdc.model.load import Model
from acdc.search.acdc.state import CircuitState
from acdc.search.acdc.tester import PassCost
from acdc.search.acdc.widths import pass_bytes, widest
from acdc.task.metrics import Metric

# What starting the products of one component costs, in FLOPs: those of a layer are started together.
CALL_FLOPS = {"cpu": 2e6, "cuda": 2e7}
FILL_ROWS = 20  # a product of few rows takes as long as if it had so many more
MLP_SHARE, HEAD_SHARE = 16, 0.6  # FLOPs of an MLP and of a head for one position, in squares of the residual width


@dataclass(frozen=True)
class Scale:
    """Some rows compared with others: how many times the tokens, the batches, and the size of the largest batch."""

    tokens: float
    batches: float
    largest: float


@dataclass(frozen=True)
class SlotCost:
    """`numbers` that a candidate brings with it in the largest batch; FLOPs of a pass besides its candidates,
    `fixed`, and of `each` candidate, over all batches."""

    numbers: float
    fixed: float
    each: float

    def __add__(self, other: "SlotCost") -> "SlotCost":
        """The cost of more batches."""
        return SlotCost(max(self.numbers, other.numbers), self.fixed + other.fixed, self.each + other.each)

    def scaled(self, scale: Scale) -> "SlotCost":
        """The same on other rows."""
        return SlotCost(self.numbers * scale.largest, self.fixed * scale.batches, self.each * scale.tokens)

    def of_pass(self, model: Model, room: float | None = None) -> PassCost:
        """How many candidates fit one pass, into so many bytes (None: as many as it may take), and what it costs
        besides them."""
        fitting = int((room or pass_bytes(model)) // (self.numbers * model.dtype.itemsize))
        return PassCost(max(1, min(widest(model), fitting)), self.fixed / self.each)


def slot_cost(behaviour: Behaviour, states: Sequence[CircuitState], reader: int, metrics: Sequence[Metric]) -> SlotCost:
    """The cost of passes at a slot of the present circuit, which has a state for each batch."""
    answers = behaviour.batches[0].answers.for_metrics(metrics)
    unembedded = behaviour.graph.anatomy.d_vocab_out if answers.columns is None else answers.columns.shape[1]
    return reduce(SlotCost.__add__, (_of_batch(state, reader, unembedded) for state in states))


def _of_batch(state: CircuitState, reader: int, unembedded: int) -> SlotCost:
    graph, rows, width = state.graph, state.rows, state.graph.anatomy.d_model
    reached = state.reached(reader)
    everywhere = sum(state.required.needs[writer] == Required.EVERYWHERE for writer in reached)
    answers = state.at[Required.ANSWER].count
    # of a layer at a time, keys and values of all positions too
    positions = answers * len(reached) + int(everywhere) * state.suffix.length + 3 * state.suffix.end
    numbers = width * rows * positions
    per_answer, call = 2.0 * width * unembedded, CALL_FLOPS[state.kind]
    fixed, each = call + FILL_ROWS * per_answer, answers * rows * per_answer
    for writer in reached:
        share = HEAD_SHARE if graph.writers[writer].kind is WriterKind.HEAD else MLP_SHARE
        positions = state.at[Required(int(state.required.needs[writer]))].count
        fixed += call + FILL_ROWS * share * width**2
        each += rows * positions * share * width**2
    return SlotCost(numbers + 2 * answers * rows * unembedded, fixed, each)
