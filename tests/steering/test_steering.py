"""Directions and doses against plain hooks on the library's own model."""

import csv

import numpy as np
import pytest
import torch

from acdc.errors import InputError
from acdc.interventions.intervention import Place, Unit
from acdc.steering.directions import from_prompts, from_task, from_unit, from_vector, typical_norm
from acdc.steering.steer import Beside, SteerSettings, steer
from acdc.task.metrics import METRICS, RowBatch

AT = Unit.parse("resid_pre2")
LINES = {
    "toward": ["When Mary and John went to the store, John gave a drink to", "While Kate and Adam went to the park"],
    "away": ["The war lasted from the year 1743 to the year 17", "The trip lasted from the year 12"],
}


@pytest.fixture
def files(tmp_path):
    for name, lines in LINES.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def residual(model, tokens, layer=2):
    """What enters a layer, by TransformerLens' own hook."""
    seen, name = [], f"blocks.{layer}.hook_resid_pre"
    with torch.no_grad():
        model.bridge.run_with_hooks(torch.tensor([tokens]), fwd_hooks=[(name, lambda x, hook: seen.append(x.detach()))])
    return seen[0][0]


def logits_with(model, tokens, vector, where=slice(None), layer=2):
    """With a vector added to what enters a layer."""

    def add(module, given, named):
        x = given[0] if given else named["hidden_states"]
        x = x.clone()
        x[:, where] += vector
        return ((x, *given[1:]), named) if given else (given, {**named, "hidden_states": x})

    handle = model.bridge.blocks[layer].register_forward_pre_hook(add, with_kwargs=True)
    with torch.no_grad():
        found = model.bridge(torch.tensor([tokens]))[0]
    handle.remove()
    return found


def test_a_difference_of_means(trio, files):
    found = from_prompts(trio, AT, files / "toward.txt", files / "away.txt")
    means = []
    for lines in LINES.values():
        last = [residual(trio, trio.tokenizer(line)["input_ids"])[-1] for line in lines]
        means.append(torch.stack(last).mean(0))
    difference = means[0] - means[1]
    assert torch.allclose(found.vector * found.before, difference, rtol=1e-9, atol=1e-9)
    assert float(found.vector.norm()) == pytest.approx(1.0)


def test_clean_less_corrupted(trio, induction):
    few = type(induction)("few", induction.rows[:5], induction.metric)
    found = from_task(trio, AT, few)
    difference = sum(
        residual(trio, row.clean)[row.answer_position] - residual(trio, row.corrupted)[row.corrupted_positions[0]]
        for row in few.rows
    )
    assert torch.allclose(found.vector * found.before, difference / 5, rtol=1e-9, atol=1e-9)


def test_units_and_files(trio, tmp_path):
    wrote = trio.components.weights.layers[1].mlp.out.weight[9]
    found = from_unit(trio, "m1.n9", None)
    assert torch.allclose(found.vector * found.before, wrote)
    np.save(tmp_path / "v.npy", np.arange(64.0))
    assert torch.allclose(
        from_vector(trio, tmp_path / "v.npy").vector, torch.arange(64.0, dtype=torch.float64) / 292.0, rtol=1e-3
    )
    np.save(tmp_path / "short.npy", np.ones(3))
    with pytest.raises(InputError, match=r"short.npy has shape \[3\], and the residual stream of 'trio' \[64\]"):
        from_vector(trio, tmp_path / "short.npy")
    with pytest.raises(InputError, match="a head writes no single direction"):
        from_unit(trio, "a1.h1", None)


@pytest.mark.parametrize("place", [Place(), Place(position=-1)], ids=["everywhere", "answer"])
def test_doses(trio, induction, files, place):
    """Metric, divergence on neutral text and another task's accuracy, row by row with plain hooks."""
    direction = from_prompts(trio, AT, files / "toward.txt", files / "away.txt")
    few = type(induction)("few", induction.rows[:6], "logit_diff")
    neutral = [tuple(trio.tokenizer(line)["input_ids"]) for line in LINES["away"]]
    settings = SteerSettings(AT, place, (-3.0, 2.0))
    found = steer(trio, direction, few, settings, Beside(tuple(neutral), few))
    for dose in found.doses:
        values, right = [], []
        for row in few.rows:
            where = slice(None) if place.is_everywhere else slice(row.answer_position, row.answer_position + 1)
            logits = logits_with(trio, row.clean, dose.strength * direction.vector, where)[row.answer_position][None]
            batch = RowBatch((row,), logits)
            values.append(float(METRICS.find("logit_diff").per_row(logits, batch)))
            right.append(float(METRICS.find("accuracy").per_row(logits, batch)))
        assert dose.task.after.value == pytest.approx(np.mean(values), rel=1e-6)
        assert dose.other.after.value == pytest.approx(np.mean(right))
        each = []
        for prompt in neutral:
            where = slice(None) if place.is_everywhere else slice(len(prompt) - 1, len(prompt))
            before = logits_with(trio, prompt, 0.0).log_softmax(-1)
            after = logits_with(trio, prompt, dose.strength * direction.vector, where).log_softmax(-1)
            each.append(float((before.exp() * (before - after)).sum(-1).mean()))
        assert dose.kl.value == pytest.approx(np.mean(each), rel=1e-6)
    norms = torch.cat([residual(trio, row.clean)[1:].norm(dim=1) for row in few.rows])
    assert found.norm == pytest.approx(float(norms.mean()), rel=1e-9)
    assert len(found.random) == 3 and {dose.strength for dose in found.random} == {-3.0}
    assert len({dose.task.after.value for dose in found.random}) == 3
    assert steer(trio, direction, few, settings, Beside(tuple(neutral), few)) == found


def test_a_norm_of_prompts_of_one_token(trio):
    from acdc.dictionaries.hooks import Hook, Site

    assert typical_norm(trio, Hook(2, Site.resid_pre), [(5,)]) == pytest.approx(float(residual(trio, [5])[0].norm()))


def test_command(acdc, files):
    outcome = acdc(
        "steer", "--at", "resid_pre2", "--task", "ioi", "--toward", "toward.txt", "--away", "away.txt",
        "--strengths=-2,2", "--limit", "6", "--neutral", "away.txt", "--other-task", "greater_than",
        "--prompt", LINES["toward"][0], "--generate", "2", "--out", "curve",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    for words in (
        "mean over toward.txt less away.txt added at resid_pre2 of trio",
        "-2 random",
        "generated",
        "without",
    ):
        assert words in outcome.out, words
    rows = list(csv.reader((files / "curve/steering.csv").open()))
    assert rows[0][0] == "direction" and len(rows) == 6
    assert (files / "curve/steering.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--at", "m3", "--pairs", "ioi"), "--at m3: a model is steered in the residual stream"),
        (("--at", "resid_pre9", "--pairs", "ioi"), "the model has no layer 9"),
        (("--at", "resid_pre1"), "give one direction"),
        (("--at", "resid_pre1", "--pairs", "ioi", "--unit", "m1.n2"), "give one direction"),
        (("--at", "resid_pre1", "--pairs", "ioi", "--strengths", "0,1"), "--strengths are numbers other than 0"),
        (("--at", "resid_pre1", "--toward", "none.txt", "--away", "none.txt"), "none.txt does not exist"),
        (("--at", "resid_pre1", "--unit", "m1.f3"), "give the dictionary"),
    ],
)
def test_bad_input(acdc, words, says):
    outcome = acdc("steer", "--task", "ioi", *words)
    assert outcome.code == 2 and says in outcome.err and "Traceback" not in outcome.err, outcome.err
