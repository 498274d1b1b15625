"""Direct effects equal brute force: raw hooks that hold patterns, norms and MLPs at what they were."""

from contextlib import ExitStack

import pytest
import torch
from brute_force import float64_throughout, names_of
from cases import CASES, VECTOR
from families import boot, hugging_face
from held_brute_force import DOWN, Held, hooked, part
from plain_hooks import PLACES, Plain

from acdc.attribution.frozen import FrozenRun
from acdc.attribution.interventions import Freeze
from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.held import held_logits
from acdc.interventions.intervention import parse_all

TOKENS = torch.tensor([3, 17, 8, 29, 5, 11, 2])


class Oracle:
    """A plain model with everything held at one prompt."""

    def __init__(self, family):
        self.plain = Plain(family, hugging_face(family))
        self.held = Held(self.plain.model, names_of(family), TOKENS)
        self.plain.scales = self.held.scales

    def run(self, contexts, attention_alone=False):
        held, plain = self.held, self.plain
        with ExitStack() as stack, torch.no_grad():
            stack.enter_context(float64_throughout(plain.model))
            stack.enter_context(held._softmax(keep=False))
            if attention_alone:
                plain.scales = {}
                stack.callback(setattr, plain, "scales", held.scales)
            for number, mlp in enumerate(() if attention_alone else held.mlps):
                give = lambda _, x, number=number: (held.hidden[number].clone(),)  # noqa: E731
                stack.enter_context(hooked(part(mlp, DOWN).register_forward_pre_hook(give)))
            for norm in () if attention_alone else held.norms:
                stack.enter_context(hooked(norm.register_forward_hook(held._with_held_scale)))
            for context in contexts(plain):
                stack.enter_context(context)
            return plain.logits(TOKENS[None])[0, -1]


@pytest.fixture(scope="module", params=PLACES)
def pair(request):
    model = boot(request.param, 2, 0)
    return model, FrozenRun(model, TOKENS), Oracle(request.param)


@pytest.mark.parametrize("case", CASES)
def test_direct_effects_equal_held_raw_hooks(pair, case):
    model, run, oracle = pair
    given, contexts = CASES[case]
    bound = Binder(model, parse_all(**given), vectors={"v": VECTOR}).bind(Prompts.single(len(TOKENS)))
    torch.testing.assert_close(held_logits(run, bound), oracle.run(contexts), rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_effects_with_attention_held_equal_raw_hooks(pair, case):
    model, run, oracle = pair
    given, contexts = CASES[case]
    bound = Binder(model, parse_all(**given), vectors={"v": VECTOR}).bind(Prompts.single(len(TOKENS)))
    expected = oracle.run(contexts, attention_alone=True)
    torch.testing.assert_close(held_logits(run, bound, Freeze.attention), expected, rtol=0, atol=1e-10)


def test_direct_and_full_effects_differ(pair):
    model, run, oracle = pair
    assert (oracle.run(CASES["steered"][1]) - oracle.held.logits).abs().max() > 1e-3
