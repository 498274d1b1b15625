"""Logits under every kind of intervention equal those of raw hooks on the plain model."""

from contextlib import ExitStack

import pytest
import torch
from brute_force import float64_throughout
from families import boot, hugging_face
from plain_hooks import PLACES, Plain

from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.hooks import logits_under
from acdc.interventions.intervention import parse_all

TOKENS = torch.tensor([[3, 17, 8, 29, 5, 11, 2]])
VECTOR = torch.linspace(-1, 2, 16, dtype=torch.float64)


def only(positions, change):
    """A change at some positions alone."""

    def changed(x):
        out = x.clone()
        out[:, positions] = change(x)[:, positions]
        return out

    return changed


def along(change):
    def changed(x):
        present = (x @ VECTOR)[..., None] / (VECTOR @ VECTOR)
        return x + (change(present) - present) * VECTOR

    return changed


@pytest.fixture(scope="module", params=PLACES)
def pair(request):
    return boot(request.param, 2, 0), Plain(request.param, hugging_face(request.param))


CASES = {
    "head to 0": ({"set": "a0.h2=0"}, lambda p: [p.head(0, 2, 4, torch.zeros_like)]),
    "head at a position": ({"scale": "a1.h1@-1=3"}, lambda p: [p.head(1, 1, 4, only([-1], lambda x: 3 * x))]),
    "head to a vector": ({"set": "a0.h3@1:3=v"}, lambda p: [p.head(0, 3, 4, only([1, 2], lambda x: 0 * x + VECTOR))]),
    "head along": ({"scale": "a0.h0[v]=0"}, lambda p: [p.head(0, 0, 4, along(torch.zeros_like))]),
    "mlp scaled": ({"scale": "m0=0.5"}, lambda p: [p.mlp_written(0, lambda x: 0.5 * x)]),
    "mlp added to": ({"add": "m1@2=v"}, lambda p: [p.mlp_written(1, only([2], lambda x: x + VECTOR))]),
    "neuron scaled": ({"scale": "m0.n7=2"}, lambda p: [p.neuron(0, 7, lambda x: 2 * x)]),
    "neuron set": ({"set": "m1.n3@-2:=1.5"}, lambda p: [p.neuron(1, 3, only([-2, -1], lambda x: 0 * x + 1.5))]),
    "steered": ({"add": "resid_pre1[v]=2"}, lambda p: [p.residual(1, lambda x: x + 2 * VECTOR)]),
    "direction set": ({"set": "resid_post1[v]@-1=4"}, lambda p: [p.residual(1, only([-1], along(lambda c: 0 * c + 4)), True)]),
    "several": (
        {"set": ["a0.h1=0", "m1.n2=1"], "scale": "a0.h1@0=7", "add": ["resid_pre0[v]@3=1", "a0.h1@-1=v"]},
        lambda p: [
            p.residual(0, only([3], lambda x: x + VECTOR)),
            p.head(0, 1, 4, lambda x: only([-1], lambda y: y + VECTOR)(torch.zeros_like(x))),
            p.neuron(1, 2, torch.ones_like),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_raw_hooks(pair, case):
    model, plain = pair
    given, contexts = CASES[case]
    binder = Binder(model, parse_all(**given), vectors={"v": VECTOR})
    found = logits_under(model, binder.bind(Prompts.single(7)), TOKENS)
    with ExitStack() as stack:
        stack.enter_context(float64_throughout(plain.model))
        before = plain.logits(TOKENS)
        for context in contexts(plain):
            stack.enter_context(context)
        expected = plain.logits(TOKENS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(model.bridge(TOKENS), before, rtol=0, atol=1e-9)  # and nothing is left behind
