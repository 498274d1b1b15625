"""What a circuit keeps or removes: the same rules at every level."""

import math

import numpy as np
import pytest

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units import units_of
from acdc.options import Level

SHAPE = {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_model": 6, "d_head": 2, "d_vocab": 9, "d_vocab_out": 9}
GRAPH = ComponentGraph(Anatomy(**SHAPE, n_ctx=8, learned_positions=True), split_embeddings=True)
SPANS = TaskSpans(("rest", "a", "end"), ((0,), (0, 1), (0, 1, 2)), (2,))
UNITS = [units_of(GRAPH, level, SPANS, mlp_width=3) for level in Level]


@pytest.fixture(params=UNITS, ids=lambda units: units.plural)
def units(request):
    return request.param


def drawn(units, share=0.5):
    """A random mask of what is kept."""
    places = np.flatnonzero(np.random.default_rng(0).random(units.total) < share)
    return units.first(places)


def removable(units):
    """Ids of all that a circuit may lack, in the order of a flat mask."""
    return list(units.names())[units.always - units.unscored :]


def test_names_and_places_are_of_one_order(units):
    kept, names = drawn(units), removable(units)
    assert len(names) == len(set(names)) == units.total and len(list(units.names())) == units.count
    chosen = [name for name, own in zip(names, kept.reshape(-1)[units.always :], strict=True) if own]
    assert (units.mask(chosen) == kept).all() and 0 < len(chosen) < units.total
    assert math.prod(units.shape) == kept.size and kept.reshape(-1)[: units.always].all()


def test_everything_and_nothing(units):
    everything = units.choose(np.ones(units.shape, dtype=bool))
    dangling = ~units.pruned(np.ones(units.shape, dtype=bool))  # at spans, what the answers cannot see
    assert everything.edges.all() and everything.ablated.values.sum() == dangling.sum()
    assert dangling.any() == (units.level is Level.positions)
    nothing = units.choose(units.first(np.arange(0)))
    into_logits = {f"{writer.id}->logits" for writer in GRAPH.embeddings} if units.always else set()
    assert set(GRAPH.ids(nothing.edges)) == into_logits


def test_what_is_kept_and_what_is_ablated_are_all(units):
    kept = drawn(units)
    (own,), (ablated,) = units.own(kept).values, units.ablated(kept).values
    assert type(units.own(kept)) is type(units.ablated(kept)) is units.form
    assert not (own & ablated).any()
    assert (own | ablated)[len(GRAPH.embeddings) :].all() if units.level is Level.coordinates else (own | ablated).all()
    assert (units.choose(kept).edges == GRAPH.prune(units.edges(units.pruned(kept)))).all()


def test_one_ablated_alone_is_all_but_it_kept(units):
    names = list(units.names())
    for place in (units.count - 1, units.always - units.unscored):
        (alone,) = units.alone(np.array([place])).values
        if units.level is not Level.nodes:
            assert (alone == units.ablated(units.mask(name for name in names if name != names[place])).values[0]).all()
        else:  # its own inputs, which nothing else reads, need not be removed too
            assert GRAPH.ids(alone) == [name for name in GRAPH.names if name.startswith(f"{names[place]}->")]


def test_a_listing_holds_what_is_kept_with_scores_that_add_up(units):
    kept, scores = drawn(units), np.random.default_rng(1).normal(size=units.shape)
    choice = units.choose(kept)
    listed, by_name = units.listing(choice, scores), units.by_name(scores)
    assert set(listed[Level.edges]) == set(GRAPH.ids(choice.listed)) and set(listed) == set(units.lists)
    units.check_listing(listed)
    if units.level is not Level.edges:
        own = zip(removable(units), units.pruned(kept).reshape(-1)[units.always :], strict=True)
        assert listed[units.level] == {name: by_name[name] for name, chosen in own if chosen}
    if units.level is Level.coordinates:
        for node, score in listed[Level.nodes].items():
            parts = [value for name, value in listed[Level.coordinates].items() if name.rsplit(".", 1)[0] == node]
            assert score == math.fsum(parts)


def test_random_units_are_as_many_as_asked(units):
    kept = units.drawn_like(units.first(np.arange(3)), np.random.default_rng(0))
    assert kept.shape == units.shape and kept.reshape(-1)[: units.always].all() and kept.sum() == units.always + 3
    assert (kept == units.drawn_like(kept, np.random.default_rng(0))).all()


def test_a_circuit_lists_what_goes_with_its_level(units):
    kept = drawn(units)
    listed = units.listing(units.choose(kept), np.ones(units.shape))
    for level in set(Level) - set(units.lists):
        with pytest.raises(InputError, match=f"a circuit of {units.level} lists {level}"):
            units.check_listing({**listed, level: {"m0": 1.0}})
    if units.level is Level.coordinates:
        with pytest.raises(InputError, match="add up to"):
            units.check_listing({**listed, Level.nodes: {}})


def test_every_level_has_a_place_in_circuits():
    assert all(level.value in Circuit.model_fields for level in Level)


@pytest.mark.parametrize("name", ["a9.h9", "m0.n99", "input->nowhere", ""])
def test_what_the_graph_lacks_is_refused(units, name):
    with pytest.raises(InputError):
        units.mask([name])
