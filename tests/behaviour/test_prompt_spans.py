"""The spans of a task's prompts: their order, what attention sees of each, and where they are in every row."""

from dataclasses import replace

import pytest
from families import boot
from noise import noise

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.prompt_spans import spans_of, where_in
from acdc.errors import InputError
from acdc.graph import ComponentGraph
from acdc.graph.masks import PositionalMask
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units import units_of
from acdc.options import Level
from acdc.task.metrics import METRICS
from acdc.task.spans import Spans

MODEL = boot("llama", 1, seed=0)


def task_of(*bounds, length=6):
    """Rows of one length with these spans, the answers at their ends."""
    rows = noise(len(bounds), lengths=(length,)).rows
    named = (
        replace(row, answer_position=length - 1, spans=Spans.of(own)) for row, own in zip(rows, bounds, strict=True)
    )
    return replace(noise(), rows=tuple(named))


def test_spans_stand_in_the_order_of_the_prompts():
    task = task_of({"b": (3, 5), "a": (1, 2), "end": (5, 6)}, {"b": (1, 3), "a": (3, 4), "end": (5, 6)})
    spans = spans_of(task, MODEL.anatomy)
    assert spans.names == ("rest", "a", "b", "end") and spans.answers == (3,) and spans.named
    # a and b stand in either order, and the rest also comes before, between and after them; nothing comes after the end
    assert spans.sources == ((0, 1, 2), (0, 1, 2), (0, 1, 2), (0, 1, 2, 3))
    assert where_in(task.rows, spans).tolist() == [[0, 1, 0, 2, 2, 3], [0, 2, 2, 1, 0, 3]]


def test_what_never_comes_before_is_not_seen():
    spans = spans_of(task_of({"a": (0, 2), "b": (2, 6)}), MODEL.anatomy)
    assert spans.names == ("a", "b") and spans.sources == ((0,), (0, 1)) and spans.answers == (1,)
    both = spans_of(task_of({"a": (0, 2), "b": (2, 6)}), boot("native-bidirectional", 1, seed=0).anatomy)
    assert both.sources == ((0, 1), (0, 1))


def test_rows_of_one_length_have_positions():
    spans = spans_of(noise(3, lengths=(4,)), MODEL.anatomy)
    assert spans == TaskSpans.of_positions(4, [3, 2, 1]) and spans.answers == (1, 2, 3) and not spans.named


def test_rows_of_several_lengths_need_spans():
    with pytest.raises(InputError, match="between 6 and 7 tokens; give each of its rows"):
        spans_of(noise(), MODEL.anatomy)


def test_edges_at_the_spans_of_another_task_are_refused():
    task, other = task_of({"a": (0, 2), "b": (2, 6)}), task_of({"a": (0, 2), "c": (2, 6)})
    behaviour = Behaviour(MODEL, task, [0], METRICS["logit_diff"])
    units = units_of(behaviour.graph, Level.positions, spans_of(other, MODEL.anatomy))
    with pytest.raises(InputError, match="has other spans"):
        behaviour.measure(PositionalMask(units.mask([])[None], units.positional))


@pytest.mark.parametrize("names", [("a", "a"), ("a@b",), ("a->b",), ("",), ()])
def test_names_that_ids_cannot_hold_are_refused(names):
    with pytest.raises(InputError):
        TaskSpans(names, tuple((0,) for _ in names), (0,))


def test_too_many_edges_are_refused():
    graph = ComponentGraph(boot("llama", 3, seed=0).anatomy)
    with pytest.raises(InputError, match="more than 4,000,000: give rows fewer spans"):
        units_of(graph, Level.positions, TaskSpans.of_positions(500, [499]))
