"""Compiled programs compute what they should, along the edges that they are said to, in whatever basis."""

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.compiled import CompiledCase, find_program
from acdc.benchmark.programs.compiler import LOGITS, compile_program
from acdc.benchmark.programs.generator import Recipe, random_program
from acdc.benchmark.programs.interpreter import run
from acdc.benchmark.programs.language import Head, Lookup, Program, Variable
from acdc.benchmark.programs.library import LIBRARY
from acdc.benchmark.programs.realism import KNOBS, Realism, make_real
from acdc.benchmark.truth import CHANGED, single_changes
from acdc.errors import InputError
from acdc.model.load import load_model

EXACT = 1e-9
RANDOM = [f"random-{seed}" for seed in range(4)] + ["redundant-0"]
SAMPLED = 13  # one prompt of so many, where the definition is run, which is slow


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Load a program by name, compiled with some realism, in float64."""

    def load(name, realism=KNOBS["plain"], seed=0):
        folder = tmp_path_factory.mktemp(name)
        make_real(compile_program(find_program(name).program), realism, seed).save(folder)
        return load_model(str(folder), dtype="float64")

    return load


def outputs(model, prompts):
    """Logits [prompts, outputs] at the last position."""
    by_length, found = defaultdict(list), {}
    for prompt in prompts:
        by_length[len(prompt)].append(prompt)
    for length, some in by_length.items():
        last = torch.full((len(some),), length - 1)
        logits = model.executor().run(torch.tensor(some), last).logits
        found |= dict(zip(some, logits.numpy(), strict=True))
    return np.array([found[prompt] for prompt in prompts])


@pytest.mark.parametrize("name", LIBRARY)
def test_it_computes_its_function_on_all_prompts(compiled, name):
    named = LIBRARY[name]
    prompts = list(named.prompts())
    wanted = LOGITS * np.array([named.expected(prompt) for prompt in prompts])
    assert np.abs(outputs(compiled(name), prompts) - wanted).max() < EXACT


@pytest.mark.parametrize("name", LIBRARY)
def test_its_definition_says_what_plain_python_says(name):
    named = LIBRARY[name]
    prompts = list(named.prompts())
    for prompt in prompts[:: max(1, len(prompts) // 100)]:
        assert run(named.program, prompt) == pytest.approx(named.expected(prompt), abs=EXACT)


@pytest.mark.parametrize("name", RANDOM)
def test_random_programs_compute_what_their_definition_says(compiled, name):
    named = find_program(name)
    prompts = list(named.prompts())[::SAMPLED]
    wanted = LOGITS * np.array([named.expected(prompt) for prompt in prompts])
    assert np.abs(outputs(compiled(name), prompts) - wanted).max() < EXACT


@pytest.mark.parametrize(
    ("name", "ablation"),
    [*product(LIBRARY, ["resample", "zero", "mean"]), *product(RANDOM, ["resample"])],
)
def test_no_other_edge_changes_any_output(tmp_path, name, ablation):
    """Ablated alone, in float64, with distractors that read what they like."""
    case = CompiledCase("test", name, KNOBS["distractors"], ablations=(ablation,), variant="distractors")
    prepared = case.prepare(tmp_path, "cpu", None)
    rows = range(0, len(prepared.task.rows), 4)
    behaviour = Behaviour(prepared.model, prepared.task, rows, CHANGED, ablation, split_embeddings=True)
    changed = single_changes(behaviour)
    along = behaviour.graph.mask(find_program(name).program.edges(behaviour.graph))
    assert changed[~along].max() < EXACT
    assert changed[along].max() > 1e-3
    assert prepared.truths[ablation].edges <= find_program(name).program.edges(behaviour.graph)


@pytest.mark.parametrize("knob", ["rotated", "distractors"])
@pytest.mark.parametrize("name", ["induction", "sort", "brackets"])
def test_what_only_moves_weights_leaves_outputs(compiled, name, knob):
    prompts = list(LIBRARY[name].prompts())[::SAMPLED]
    assert np.abs(outputs(compiled(name), prompts) - outputs(compiled(name, KNOBS[knob]), prompts)).max() < EXACT


@pytest.mark.parametrize("knob", ["noise", "squeezed", "normalised", "all"])
def test_what_blurs_weights_blurs_outputs(compiled, knob):
    """By something, and by less than it takes to change an answer."""
    prompts = list(LIBRARY["miniature-ioi"].prompts())
    plain, blurred = (
        outputs(compiled("miniature-ioi"), prompts),
        outputs(compiled("miniature-ioi", KNOBS[knob]), prompts),
    )
    assert np.abs(plain - blurred).max() > 1e-6
    assert (plain.argmax(-1) == blurred.argmax(-1)).mean() >= 0.9


def test_realism_is_reproducible_and_checked():
    weights = compile_program(LIBRARY["induction"].program)
    one, same, other = (make_real(weights, KNOBS["all"], seed) for seed in (1, 1, 2))
    assert (one.tokens == same.tokens).all() and (one.layers[1].query == same.layers[1].query).all()
    assert (one.tokens != other.tokens).any()
    with pytest.raises(InputError, match="noise"):
        Realism(noise=-0.1)


def test_random_programs_come_from_their_seed():
    one, same, other = (random_program(seed, Recipe(5)).program for seed in (3, 3, 4))
    assert one == same and one.operations != other.operations


def test_what_a_program_leaves_open_is_refused():
    tokens, positions, kept = Variable("tokens", 3), Variable("positions", 2), Variable("kept", 3)
    program = Program("open", tokens, positions, (Lookup.of(kept, (tokens,), lambda t: t if t < 2 else None),), kept)
    assert run(program, (0, 1)) == (0.0, 1.0, 0.0)
    with pytest.raises(InputError, match="open"):
        run(program, (0, 2))


def test_a_mean_is_no_value():
    """A lookup of what a head has averaged says nothing."""
    tokens, positions = Variable("tokens", 2), Variable("positions", 3)
    mean, again = Variable("mean", 2), Variable("again", 2)
    operations = (Head(mean, tokens), Lookup.of(again, (mean,), lambda value: value))
    program = Program("mean", tokens, positions, operations, mean)
    assert run(program, (0, 1, 1)) == pytest.approx((1 / 3, 2 / 3))
    with pytest.raises(InputError):
        run(Program("mean", tokens, positions, operations, again), (0, 1, 1))
