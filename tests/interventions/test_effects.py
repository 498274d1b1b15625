"""Effects on next tokens and on a task's metric; what is refused."""

import math

import numpy as np
import pytest
import torch
from families import boot, random_rows
from safetensors.torch import save_file

from acdc.errors import InputError
from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.hooks import logits_under
from acdc.interventions.intervene import Wanted, intervene
from acdc.interventions.intervention import Action, Intervention, Place, Unit, UnitKind, parse_all
from acdc.task.rows import Row, Task
from acdc.task.spans import Spans

PROMPT = (3, 17, 8, 29)


@pytest.fixture(scope="module")
def llama():
    return boot("llama", 2, 0)


def test_syntax_is_read_and_written_alike():
    for text in ("a3.h2=0", "m5.n123@2:5=2", "resid_pre3[x/y.npy]@-1=5", "m4@S2=f.safetensors", "m1[unembed: a| b]=1"):
        action = Action.add if "[" in text or "m4" in text else Action.set
        one = Intervention.parse(action, text)
        assert str(one) == f"{action} {text}" and Intervention.parse(action, str(one).split(" ", 1)[1]) == one
    assert Intervention.parse(Action.scale, "a3.h2@S2=0.5") == Intervention(
        Action.scale, Unit(UnitKind.head, 3, 2), 0.5, place=Place(span="S2")
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"set": "h3=0"}, "is not a unit"),
        ({"set": "a0.h1"}, "not of the form"),
        ({"set": "a0.h1=2"}, "a0.h1 is a vector"),
        ({"add": "m0=1"}, "m0 is a vector"),
        ({"set": "a0.h1=nan"}, "not a finite number"),
        ({"scale": "m0=v.npy"}, "a scale is a number"),
        ({"set": "m0.n1=v.npy"}, "takes a number"),
        ({"set": "m0.n1[v.npy]=1"}, "no directions"),
        ({"set": "a0.h1@=0"}, "must be followed"),
        ({"set": "a0.h1@1:2:3=0"}, "not a range"),
        ({"add": "m0=unembed:a"}, "two tokens"),
        ({}, "nothing to do"),
        ({"set": "a2.h0=0"}, "no layer 2"),
        ({"set": "a0.h4=0"}, "no head 4"),
        ({"set": "m0.n24=0"}, "no neuron 24"),
        ({"set": "m0.f3=0"}, "m0.f3 is a feature of a dictionary: give --dictionary"),
        ({"set": "m0.f3[v.npy]=1"}, "a feature is one number and has no directions"),
        ({"set": "a0.h0@4=0"}, "position 4 is not in the prompt, which has 4 tokens"),
        ({"set": "a0.h0@-5=0"}, "position -5 is not in"),
        ({"set": "a0.h0@2:6=0"}, "position 2:6 is not in"),
        ({"set": "a0.h0@3:2=0"}, "position 3:2 is not in"),
        ({"set": "a0.h0@S2=0"}, "a prompt has no spans"),
        ({"add": "m0=there.npy"}, "there.npy"),
        ({"add": "m0=there.pt"}, "give a .npy or .safetensors"),
        ({"add": "m0=unembed:1|400"}, "token id 400"),
        ({"add": "m0=wide"}, r"shape \[3\]"),
        ({"add": "m0=whole"}, "floating-point"),
    ],
)
def test_refusals(llama, given, said):
    vectors = {"wide": torch.ones(3), "whole": torch.ones(16, dtype=torch.long)}
    with pytest.raises(InputError, match=said):
        intervene(llama, parse_all(**given), Wanted(prompt=PROMPT), vectors)


def test_mixtures_have_no_neurons_and_no_direct_effects():
    mixtral = boot("mixtral", 2, 0)
    with pytest.raises(InputError, match="has no neurons"):
        intervene(mixtral, parse_all(set="m0.n1=0"), Wanted(prompt=PROMPT))
    effects = intervene(mixtral, parse_all(set="m0=0"), Wanted(prompt=PROMPT)).prompt
    assert "cannot be traced" in effects.no_direct and effects.tokens[0].direct is None and effects.kl > 0


def test_vectors_from_files_and_of_tokens(llama, tmp_path):
    vector = torch.arange(16, dtype=torch.float64)
    np.save(tmp_path / "v.npy", vector.numpy())
    save_file({"x": vector}, tmp_path / "v.safetensors")
    save_file({"x": vector, "y": vector + 1}, tmp_path / "two.safetensors")
    tokens, unembed = torch.tensor([PROMPT]), llama.bridge.original_model.lm_head.weight

    def logits(text, **vectors):
        return logits_under(llama, Binder(llama, parse_all(add=text), vectors=vectors).bind(Prompts.single(4)), tokens)

    expected = logits("m0=v", v=vector)
    assert torch.equal(logits(f"m0={tmp_path}/v.npy"), expected)
    assert torch.equal(logits(f"m0={tmp_path}/v.safetensors"), expected)
    assert torch.equal(logits("m1=unembed:5|9"), logits("m1=v", v=(unembed[5] - unembed[9]).detach()))
    with pytest.raises(InputError, match="2 tensors"):
        logits(f"m0={tmp_path}/two.safetensors")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        logits(f"m0={tmp_path}/bad.npy")


def test_probabilities_of_next_tokens(llama):
    given = parse_all(scale="m1.n3=4", set="a0.h1@-1=0")
    effects = intervene(llama, given, Wanted(prompt=PROMPT, top=3)).prompt
    bound = Binder(llama, given).bind(Prompts.single(4))
    before, after = (logits_under(llama, some, torch.tensor([PROMPT]))[0, -1] for some in ((), bound))
    likeliest = {*before.topk(3).indices.tolist(), *after.topk(3).indices.tolist()}
    assert {one.token for one in effects.tokens} == likeliest
    for one in effects.tokens:
        assert one.before == pytest.approx(float(before.softmax(-1)[one.token]), abs=1e-12)
        assert one.after == pytest.approx(float(after.softmax(-1)[one.token]), abs=1e-12)
        change = (after - after.mean() - before + before.mean())[one.token]
        assert one.change == pytest.approx(float(change), abs=1e-9)
    assert effects.kl == pytest.approx(float(torch.nn.functional.kl_div(
        after.log_softmax(-1), before.log_softmax(-1), log_target=True, reduction="sum")), abs=1e-9)  # fmt: skip


def test_what_changes_nothing_changes_nothing(llama):
    effects = intervene(llama, parse_all(scale="m1.n3=1"), Wanted(prompt=PROMPT)).prompt
    assert all(one.change == 0 and one.direct_change == 0 for one in effects.tokens) and effects.kl == 0


def metric_by_hand(model, given, row):
    """The logit difference at the answer of one row, run by itself."""
    bound = Binder(model, given).bind(Prompts.of([row]))
    logits = logits_under(model, bound, torch.tensor([row.clean]))[0, row.answer_position]
    return float(logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean())


def test_metric_of_a_task_with_rows_of_several_lengths(llama):
    task = random_rows([5, 9, 6, 6, 7, 9, 5, 8])
    given = parse_all(scale="a0.h2@-2=3", set="m1.n2=0")
    found = intervene(llama, given, Wanted(task=task)).task
    nothing = parse_all(scale="m0=1")
    before, after = (np.mean([metric_by_hand(llama, one, row) for row in task.rows]) for one in (nothing, given))
    assert found.before.value == pytest.approx(before, abs=1e-5) and found.after.value == pytest.approx(after, abs=1e-5)
    assert found.change.value == pytest.approx(after - before, abs=1e-5)
    assert found.change.low <= found.change.value <= found.change.high and found.rows == 8
    assert intervene(llama, given, Wanted(task=task, limit=2)).task.rows == 2


def test_spans_of_a_task(llama):
    spans = [Spans.of({"A": (1, 3)}), Spans.of({"A": (2, 4)})]
    rows = tuple(Row(str(i), (3, 17, 8, 29, 5), None, (1,), (2,), 4, None, one) for i, one in enumerate(spans))
    mask = Prompts.of(rows).mask(Place(span="A"))
    assert mask.tolist() == [[False, True, True, False, False], [False, False, True, True, False]]
    assert torch.equal(Prompts.of(rows).mask(Place(span="rest")), ~mask)
    found = intervene(llama, parse_all(set="a0.h1@A=0"), Wanted(task=Task("t", rows, "logit_diff"))).task
    assert math.isfinite(found.after.value) and found.change.low is None  # too few rows for an interval
    with pytest.raises(InputError, match="no span 'B': row '0' has spans A, rest"):
        intervene(llama, parse_all(set="a0.h1@B=0"), Wanted(task=Task("t", rows, "logit_diff")))
    with pytest.raises(InputError, match="row '0', which has 5 tokens"):
        intervene(llama, parse_all(set="a0.h1@7=0"), Wanted(task=Task("t", rows, "logit_diff")))


def test_something_must_be_asked(llama):
    with pytest.raises(InputError, match="give --prompt, --task or both"):
        intervene(llama, parse_all(set="m0=0"), Wanted())
