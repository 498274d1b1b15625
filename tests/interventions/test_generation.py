"""Generation with the model's own cache equals a loop over raw hooks that runs the whole text anew for each token."""

from contextlib import ExitStack

import pytest
import torch
from cases import CASES, VECTOR
from families import boot, hugging_face
from plain_hooks import PLACES, Plain

from acdc.errors import InputError
from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.generate import Sampling, generate, generate_both
from acdc.interventions.intervention import parse_all

PROMPT = torch.tensor([3, 17, 8, 29])
COUNT = 8  # longer than the sliding windows


def without_cache(plain, contexts, choose):
    """`choose` gives the next token of logits and its number."""
    tokens = PROMPT[None]
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        for number in range(COUNT):
            following = choose(plain.logits(tokens)[0, -1], number)
            tokens = torch.cat((tokens, torch.tensor([[following]])), 1)
    return tuple(tokens[0, len(PROMPT) :].tolist())


def endless(model):
    model.bridge.original_model.generation_config.eos_token_id = None
    return model


@pytest.fixture(scope="module", params=PLACES)
def pair(request):
    return endless(boot(request.param, 2, 0)), Plain(request.param, hugging_face(request.param))


def bound(model, **given):
    return Binder(model, parse_all(**given), vectors={"v": VECTOR}).bind(Prompts.single(len(PROMPT)))


@pytest.mark.parametrize("case", ["head to 0", "mlp scaled", "neuron scaled", "steered"])
def test_greedy_everywhere(pair, case):
    model, plain = pair
    given, contexts = CASES[case]
    expected = without_cache(plain, contexts(plain), lambda logits, _: int(logits.argmax()))
    assert generate(model, bound(model, **given), PROMPT, Sampling(COUNT)) == expected
    plainly = without_cache(plain, [], lambda logits, _: int(logits.argmax()))
    assert generate(model, (), PROMPT, Sampling(COUNT)) == plainly


def test_what_is_done_to_the_prompt_alone_stays_there(pair):
    model, plain = pair

    def at_two(x):
        out = x.clone()
        out[:, 2] += 3 * VECTOR
        return out

    expected = without_cache(plain, [plain.residual(1, at_two)], lambda logits, _: int(logits.argmax()))
    assert generate(model, bound(model, add="resid_pre1[v]@2=3"), PROMPT, Sampling(COUNT)) == expected


def test_from_a_position_on(pair):
    model, plain = pair

    def later(x):
        out = x.clone()
        out[:, 3:] += 3 * VECTOR
        return out

    expected = without_cache(plain, [plain.residual(0, later)], lambda logits, _: int(logits.argmax()))
    assert generate(model, bound(model, add="resid_pre0[v]@-1:=3"), PROMPT, Sampling(COUNT)) == expected


def test_drawn_with_a_seed(pair):
    model, plain = pair
    numbers = torch.rand(COUNT, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).tolist()

    def choose(logits, number):
        shares = (logits.double() / 2.0).softmax(-1).tolist()
        total = 0.0
        for token, share in enumerate(shares):
            total += share
            if numbers[number] < total:
                return token
        raise AssertionError

    given, contexts = CASES["mlp scaled"]
    sampling = Sampling(COUNT, temperature=2.0, seed=5)
    assert generate(model, bound(model, **given), PROMPT, sampling) == without_cache(plain, contexts(plain), choose)


def test_it_ends_where_the_model_ends_a_text():
    model = endless(boot("llama", 2, 0))
    whole = generate(model, (), PROMPT, Sampling(COUNT))
    model.bridge.original_model.generation_config.eos_token_id = [whole[2]]
    assert generate(model, (), PROMPT, Sampling(COUNT)) == whole[: whole.index(whole[2]) + 1]


@pytest.mark.parametrize(
    ("family", "sampling", "said"),
    [
        ("native", Sampling(2), "no cache of its own"),
        ("gemma3-bidirectional", Sampling(2), "both directions"),
        ("llama", Sampling(40), "more than the 32"),
        ("llama", Sampling(0), "must be 1 to"),
        ("llama", Sampling(2, float("nan")), "must be 0 or more"),
    ],
)
def test_refusals(family, sampling, said):
    with pytest.raises(InputError, match=said):
        generate_both(boot(family, 2, 0), (), PROMPT, sampling)
