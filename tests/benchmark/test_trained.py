"""The bundled trained models are what they are said to be: by acdc's own executor, on pairs not measured before."""

import json
from functools import cache

import numpy as np
import pytest
import torch
import train_known
from edge_network import EdgeNetwork, Swap

from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.programs.library import LIBRARY
from acdc.benchmark.trained import FOLDERS
from acdc.graph.masks import EdgeMask

NAMES = sorted(FOLDERS)
PAIRS, SEED = 48, 17
LARGEST = 200_000  # bytes of a model's weights


def known(name: str) -> dict:
    return json.loads((FOLDERS[name] / "known.json").read_text())


@cache
def bound(name: str) -> Behaviour:
    return train_known.bind(FOLDERS[name], train_known.pair_task(LIBRARY[name], PAIRS, SEED))


def true_edges(name: str) -> np.ndarray:
    return bound(name).graph.mask(known(name)["truth"]["resample"])


def test_some_have_mlps_and_all_are_small():
    assert {"induction", "miniature-ioi", "duplicate"} <= set(NAMES)
    assert all((FOLDERS[name] / "model.safetensors").stat().st_size <= LARGEST for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_part_of_the_programs_circuit(name):
    structure = LIBRARY[name].program.edges(bound(name).graph)
    truth = set(known(name)["truth"]["resample"])
    assert truth <= structure
    assert any(edge.endswith("->logits") for edge in truth)


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_with_its_circuit_alone(name):
    inside = true_edges(name)
    assert train_known.accuracy(bound(name), np.zeros_like(inside)) >= 0.99
    assert train_known.accuracy(bound(name), ~inside) >= 0.99


@pytest.mark.parametrize("name", NAMES)
def test_single_edges_tell_truth_from_rest(name):
    single, inside = train_known.effects(bound(name)).single, true_edges(name)
    assert single[inside].min() > 100 * single[~inside].max()


def test_the_network_that_is_trained_is_the_one_that_is_searched():
    behaviour, network = bound("duplicate"), EdgeNetwork.load(FOLDERS["duplicate"])
    batch, prompts = behaviour.batches[-1], behaviour.prompts[-1]
    removed = np.random.default_rng(0).random((1, behaviour.graph.n_edges)) < 0.5
    other = network.run(batch.corrupted, batch.positions)
    swap = Swap(torch.from_numpy(removed).float().expand(len(batch.index), -1), other.values)
    expected = behaviour.logits(batch, prompts, EdgeMask(removed), None)
    torch.testing.assert_close(
        network.run(batch.tokens, batch.positions, swap).logits, expected.float(), rtol=1e-3, atol=1e-3
    )


def trainer(steps: int) -> train_known.Trainer:
    named = LIBRARY["modular-addition"]
    high = train_known.HighLevel.of(named, train_known.pair_task(named, 8, 0))
    recipe = train_known.Recipe(layers=1, steps=steps, rows=32, rate=1e-2)
    return train_known.Trainer(named, high, recipe, seed=0)


def test_training_gets_nearer():
    training = trainer(100)
    before, _ = training.losses()
    training.train()
    after, _ = training.losses()
    assert after < before / 2


def test_training_is_seeded():
    first, second = (trainer(3).train().parameters for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
