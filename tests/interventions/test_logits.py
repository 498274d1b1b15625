"""Logits under every kind of intervention equal those of raw hooks on the plain model."""

from contextlib import ExitStack

import pytest
import torch
from brute_force import float64_throughout
from cases import CASES, VECTOR
from families import boot, hugging_face
from plain_hooks import PLACES, Plain

from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.hooks import logits_under
from acdc.interventions.intervention import parse_all

TOKENS = torch.tensor([[3, 17, 8, 29, 5, 11, 2]])


@pytest.fixture(scope="module", params=PLACES)
def pair(request):
    return boot(request.param, 2, 0), Plain(request.param, hugging_face(request.param))


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_raw_hooks(pair, case):
    model, plain = pair
    given, contexts = CASES[case]
    binder = Binder(model, parse_all(**given), vectors={"v": VECTOR})
    with ExitStack() as stack:
        stack.enter_context(float64_throughout(plain.model))  # of the bridge over such a model, too
        found = logits_under(model, binder.bind(Prompts.single(7)), TOKENS)
        after = model.bridge(TOKENS)
        before = plain.logits(TOKENS)
        for context in contexts(plain):
            stack.enter_context(context)
        expected = plain.logits(TOKENS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(after, before, rtol=0, atol=1e-10)  # and nothing is left behind
