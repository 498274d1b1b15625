"""Exact edge patching: the effect of every edge by ablating it alone. The judge of every estimator.

score(u->v) = metric(run in which v alone reads u's ablated value) - metric(full model), mean over rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.graph import ComponentGraph
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.options import SearchOptions

CHUNK = 256


@dataclass(frozen=True)
class Candidates:
    """What is ablated one by one: how many there are, what they are called, and what goes with each of some of them, as
    `Behaviour.measure` takes it."""

    count: int
    unit: str
    removed: Callable[[np.ndarray], np.ndarray]


def count_candidates(graph: ComponentGraph, level: Level) -> int:
    """How many candidates there are on a level; neurons of embeddings are none."""
    writers, width = len(graph.writers), graph.anatomy.d_model
    return {
        Level.edges: graph.n_edges,
        Level.nodes: writers,
        Level.neurons: (writers - len(graph.embeddings)) * width,
    }[level]


def candidates(behaviour: Behaviour, level: Level) -> Candidates:
    """The candidates of a level."""
    graph, width = behaviour.graph, behaviour.model.anatomy.d_model
    count, (writers, _) = count_candidates(graph, level), graph.ends
    if level is Level.edges:
        every = np.arange(graph.n_edges)
        return Candidates(count, "edges", lambda these: every == these[:, None])
    if level is Level.nodes:
        return Candidates(count, "nodes", lambda these: writers == these[:, None])
    first = len(graph.embeddings) * width

    def one_neuron(these: np.ndarray) -> np.ndarray:
        alone = np.zeros((len(these), len(graph.writers), width), dtype=bool)
        alone.reshape(len(these), -1)[np.arange(len(these)), these + first] = True
        return alone

    return Candidates(count, "neurons", one_neuron)


def exact(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One run per candidate edge; over nodes or neurons one for each, ablated for all that read it."""
    graph, found = behaviour.graph, _effects(behaviour, candidates(behaviour, options.level), progress)
    if options.level is Level.edges:
        return Scores(found, "effect")
    if options.level is Level.nodes:
        writers, _ = graph.ends
        return Scores(found[writers], "effect", nodes=found)
    neurons = np.zeros((len(graph.writers), behaviour.model.anatomy.d_model))
    neurons[len(graph.embeddings) :] = found.reshape(-1, neurons.shape[1])
    return Scores.of_neurons(graph, neurons, "effect")


def _effects(behaviour: Behaviour, tried: Candidates, progress: Progress) -> np.ndarray:
    """Effects [candidates]."""
    full, values = behaviour.full().mean(), np.empty(tried.count)
    what, prompts = f"exact patching of {tried.count:,} {tried.unit}", tried.count * len(behaviour.rows)
    with progress(what, prompts, "prompts") as advance:
        for start in range(0, tried.count, CHUNK):
            these = np.arange(start, min(start + CHUNK, tried.count))
            values[these] = behaviour.measure(tried.removed(these), advance=advance)[0].mean(axis=1) - full
    return values
