"""The logit lens against raw hooks on the Hugging Face model."""

from dataclasses import replace

import torch

import acdc
from acdc.artefacts.verification.examples import Lens
from acdc.model.replay import ReplayComponents
from acdc.model.sources import BUNDLED
from acdc.verification.examples import MOST_TOKENS, take_examples
from acdc.verification.lens import MOST_DEPTHS, SHARES, depths_of


def hooked_lens(folder, tokens: list[int], layers: str, norm: str) -> list[torch.Tensor]:
    """Probabilities [positions, vocabulary] by depth, from what Hugging Face's own modules pass on."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    stack, streams = model.get_submodule(layers), []
    stack[0].register_forward_pre_hook(lambda _, given: streams.append(given[0]))
    for layer in stack:
        layer.register_forward_hook(lambda _, __, out: streams.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        model(torch.tensor([tokens]))
        return [model.lm_head(model.get_submodule(norm)(stream))[0].double().softmax(-1) for stream in streams]


def check(model, task, circuit, folder, layers: str, norm: str) -> None:
    rows = {row.id: row for row in task.rows}
    for example in take_examples(model, task, circuit).rows:
        row, lens = rows[example.row], example.lens
        expected = hooked_lens(folder, list(row.clean), layers, norm)
        assert lens.depths == list(range(len(expected))) and len(expected) == model.anatomy.n_layers + 1
        for depth, shares in enumerate(expected):
            told = zip(lens.top[depth], lens.shares[depth], shares, strict=False)
            for token, share, at in told:
                likely = {model.tokenizer.decode([int(i)]) for i in torch.nonzero(at > at.max() - 1e-4)}
                assert lens.tokens[token] in likely and abs(share - SHARES * float(at.max())) <= 0.6
            right = SHARES * float(shares[row.answer_position, list(row.correct)].sum())
            assert abs(lens.right[depth] - right) <= 0.6
        assert len(lens.top[0]) > row.answer_position, "the answer's position is among those read"


def test_it_is_what_raw_hooks_give(trio, induction):
    circuit = acdc.discover(trio, induction, method="eap", edges=20, limit=8).circuit
    check(trio, induction, circuit, BUNDLED["trio"], "transformer.h", "transformer.ln_f")


def test_a_llama_too(shared):
    folder = shared / "models/stories260k"
    model = acdc.load_model(str(folder))
    task = acdc.load_task(str(shared / "tasks/stories_pronoun_gender.jsonl"), model)
    circuit = acdc.discover(model, task, method="eap", edges=20, limit=8).circuit
    check(model, task, circuit, folder, "model.layers", "model.norm")


def test_a_model_run_by_its_own_modules_says_the_same(trio, induction):
    circuit = acdc.discover(trio, induction, method="eap", edges=20, limit=8).circuit
    usual, replayed = (
        take_examples(model, induction, circuit)
        for model in (trio, replace(trio, components=ReplayComponents(trio.bridge, trio.anatomy)))
    )
    assert [row.lens for row in usual.rows] == [row.lens for row in replayed.rows]


def test_of_a_deep_model_depths_are_spread():
    assert depths_of(4) == [0, 1, 2, 3, 4] and depths_of(32) == list(range(33))
    deep = depths_of(80)
    assert len(deep) == MOST_DEPTHS == len(set(deep)) and deep == sorted(deep) and (deep[0], deep[-1]) == (0, 80)


def test_what_a_row_takes_is_bounded():
    """As in the page: the longest row that is shown, at all depths that are read, with a text of its own in each cell
    of which as few repeat as can be."""
    depths, cells = range(MOST_DEPTHS), MOST_DEPTHS * MOST_TOKENS
    top = [[depth * MOST_TOKENS + place for place in range(MOST_TOKENS)] for depth in depths]
    lens = Lens(depths=list(depths), tokens=["eight by"] * cells, top=top, shares=[[1000] * MOST_TOKENS] * MOST_DEPTHS,
                right=[1000] * MOST_DEPTHS)  # fmt: skip
    assert len(lens.model_dump_json()) < 50_000
