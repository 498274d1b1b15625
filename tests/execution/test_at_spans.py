"""Edges removed at single positions and spans, against brute force with raw hooks on the plain model."""

import numpy as np
import pytest
import torch
from brute_force import BruteForce, float64_throughout, names_of
from brute_force_at import node_patched_at, patched_at
from conftest import thorough_but
from families import HUGGING_FACE, NATIVE, VOCABULARY, thorough_if_more
from test_executor import build

from acdc.execution.ablated import Ablated, AblatedStream
from acdc.execution.executor import RemovedEdges
from acdc.graph.masks import PositionalMask
from acdc.graph.positional_graph import PositionalGraph
from acdc.graph.task_spans import TaskSpans

LENGTH, ROWS = 5, 2
FAMILIES = [*HUGGING_FACE, *NATIVE]
QUICK = ["gpt2", "llama", "gemma2", "native-bidirectional", "gpt-neox-parallel"]


def prompts():
    generator = torch.Generator().manual_seed(2)
    return (torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=generator) for _ in range(2))


class Case:
    """A family's plain model with its runs, and the executor with the same."""

    def __init__(self, family, length=LENGTH):
        self.plain, self.executor = build(family)
        anatomy = self.executor.graph.anatomy
        self.clean, self.corrupted = prompts()
        self.answers = torch.full((ROWS,), length - 1)
        spans = TaskSpans.of_positions(length, [length - 1], anatomy.bidirectional)
        self.graph = PositionalGraph(self.executor.graph, spans)
        self.where = np.tile(np.arange(length), (ROWS, 1))
        with float64_throughout(self.plain):
            self.trace = self.executor.run(self.clean, self.answers)
            self.ablated = Ablated(self.executor.run(self.corrupted, self.answers).values)
        self.oracle = BruteForce(self.plain, names_of(family), anatomy.n_heads, anatomy.d_head, anatomy.n_kv_heads)

    def without(self, removed, where=None, graph=None, stream=False):
        """Logits [C, rows, V] of subgraphs, boolean [C, edges]."""
        components, embeddings = self.executor.components, len(self.executor.graph.embeddings)
        mask = PositionalMask(removed, graph or self.graph)
        return self.executor.resume_without(
            self.trace,
            mask,
            self.ablated,
            self.answers,
            AblatedStream.of(components, self.ablated.values, embeddings) if stream else None,
            where=self.where if where is None else where,
        ).logits.unflatten(0, (len(removed), -1))


def sampled(case, count):
    """Places of edges of every kind of slot, as many of each at random."""
    draw, found = np.random.default_rng(0), []
    for group in case.graph.groups:
        places = np.arange(group.start, group.stop)
        found += draw.choice(places, min(count, len(places)), replace=False).tolist()
    return found


def ends_of(name):
    """(writer, its position, slot, the position that reads it) of an id."""
    left, right = name.split("->")
    return *left.split("@"), *right.split("@")


def check_edges(family, count):
    case = Case(family)
    rows = torch.arange(ROWS)
    with float64_throughout(case.plain):
        ours, residuals = case.oracle.contributions(case.clean)
        theirs, _ = case.oracle.contributions(case.corrupted)
        full, effects = case.oracle.logits(case.clean)[rows, case.answers], {}
        for place in sampled(case, count):
            removed = np.zeros((1, case.graph.n_edges), dtype=bool)
            removed[0, place] = True
            writer, source, slot, at = ends_of(case.graph.name(place))
            change = theirs[writer] - ours[writer]
            expected = patched_at(case.oracle, case.clean, slot, change, residuals, int(source), int(at))
            expected = expected[rows, case.answers]
            assert (case.without(removed)[0] - expected).abs().max() < 1e-10, case.graph.name(place)
            effects[slot[-2:]] = max(effects.get(slot[-2:], 0), (expected - full).abs().max().item())
    assert min(effects.values()) > 1e-4, "a destination without any effect would hide a dead hook"


@torch.no_grad()
@pytest.mark.parametrize("family", [*thorough_but(QUICK, FAMILIES), *thorough_if_more([])])
def test_edges_at_a_position_equal_brute_force(family):
    check_edges(family, count=5)


@torch.no_grad()
@pytest.mark.thorough
@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_every_edge_at_every_position_equals_brute_force(family):
    check_edges(family, count=10_000)


@torch.no_grad()
@pytest.mark.parametrize("family", thorough_but(QUICK, FAMILIES))
def test_nodes_at_a_position_equal_brute_force(family):
    """Without all of its edges at a position, a component writes its ablated value there."""
    case = Case(family)
    rows, (senders, _) = torch.arange(ROWS), case.graph.ends
    with float64_throughout(case.plain):
        ours, _ = case.oracle.contributions(case.clean)
        theirs, _ = case.oracle.contributions(case.corrupted)
        parallel = case.executor.graph.anatomy.parallel
        for index, writer in enumerate(case.executor.graph.writers):
            for at in range(LENGTH):
                change = theirs[writer.id] - ours[writer.id]
                expected = node_patched_at(case.oracle, case.clean, writer.id, change, at)[rows, case.answers]
                got = case.without((senders == index * LENGTH + at)[None])[0]
                assert (got - expected).abs().max() < 1e-10, (writer.id, at, parallel)


@torch.no_grad()
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("family", thorough_but(QUICK, FAMILIES))
def test_removed_at_all_positions_is_removed(family, stream):
    """Random subgraphs, several in a run; what is removed at every position is the edge of the component graph."""
    case = Case(family)
    stream = stream and not case.executor.scaled_bias
    removed = np.random.default_rng(1).random((3, case.executor.graph.n_edges)) < [[0.3], [0.8], [1.0]]
    plain = RemovedEdges(case.executor.graph, removed, case.ablated, ROWS)
    expected = case.executor.resume(case.trace, 0, 3, case.answers, plain).logits.unflatten(0, (3, -1))
    got = case.without(case.graph.spread(removed), stream=stream)
    assert (got - expected).abs().max() < 1e-10
    single = np.random.default_rng(2).random((2, case.graph.n_edges)) < [[0.2], [0.7]]
    together = case.without(single, stream=stream)
    for one, logits in zip(single, together, strict=True):
        assert (case.without(one[None])[0] - logits).abs().max() < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gemma2", "native-bidirectional"])
def test_a_span_is_its_positions(family):
    """Rows whose spans stand elsewhere: an edge at a span is removed at all of its positions in every row."""
    case = Case(family)
    where = np.array([[0, 1, 1, 2, 2], [1, 1, 0, 0, 2]])
    spans = TaskSpans(("a", "b", "c"), ((0, 1), (0, 1), (0, 1, 2)), (2,))
    if case.executor.graph.anatomy.bidirectional:
        spans = TaskSpans(("a", "b", "c"), ((0, 1, 2),) * 3, (2,))
    graph = PositionalGraph(case.executor.graph, spans)
    removed = np.random.default_rng(3).random((2, graph.n_edges)) < 0.4
    got = case.without(removed, where, graph)
    for row in range(ROWS):
        at_positions = np.zeros((2, case.graph.n_edges), dtype=bool)
        for place in range(case.graph.n_edges):
            writer, source, slot, at = ends_of(case.graph.name(place))
            source, at = spans.names[where[row, int(source)]], spans.names[where[row, int(at)]]
            at_positions[:, place] = removed[:, graph.position(f"{writer}@{source}->{slot}@{at}")]
        assert (case.without(at_positions)[:, row] - got[:, row]).abs().max() < 1e-10
