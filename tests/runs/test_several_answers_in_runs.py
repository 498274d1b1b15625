"""Tasks whose rows have several answers, through everything that a run of the command line does with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import boot
from noise import several

import acdc
from acdc.behaviour.behaviour import Behaviour
from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.hooks import logits_under
from acdc.interventions.intervene import Wanted, intervene
from acdc.interventions.intervention import parse_all
from acdc.options import Level
from acdc.render.report.examples import examples_section
from acdc.search.discover import bind
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.verification.attention import TARGETS, attention_shares, clean_patterns
from acdc.verification.examples import take_examples

WORDS = ("forest", "tiger", "copper", "engine", "candle", "marble", "zebra", "pencil")


EAP, FULL = ("--method", "eap", "--edges", "40"), ("--verify", "full")


def repeated(seed: int) -> dict:
    """Words, and those words again; every one after the first again calls for what followed it before."""
    a, b, c, d = np.random.default_rng(seed).permutation(WORDS)[:4].tolist()
    answers = [((5), b, d), (6, c, a), (7, d, b)]
    return {
        "clean": f"{a} {b} {c} {d} {a} {b} {c}",
        "corrupted": f"{c} {b} {a} {d} {a} {b} {c}",
        "answers": [{"position": at, "correct": [f" {x}"], "incorrect": [f" {y}"]} for at, x, y in answers],
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("repeated") / "repeated.jsonl"
    path.write_text("\n".join(json.dumps(repeated(seed)) for seed in range(24)))
    return path


@pytest.fixture(scope="module")
def task(trio, file):
    return load_task(file, trio)


def test_check_task_counts_answers_within_rows(acdc, trio, task, file):
    found = acdc("check-task", file, "--model", "trio", "--json").json
    assert found["answers"] == [3, 3] and found["metric"] == "logit_diff"
    with torch.no_grad():
        said = [trio.bridge(torch.tensor([row.clean]))[0].argmax(-1).tolist() for row in task.rows]
    right = np.mean([said[i][one.position] in one.correct for i, row in enumerate(task.rows) for one in row.answers])
    assert found["measures"]["accuracy"]["clean"] == pytest.approx(right)
    assert "24 rows of 8 tokens with 3 answers each" in acdc("check-task", file, "--model", "trio").out


@pytest.mark.parametrize("found_by", [EAP, pytest.param(FULL, marks=pytest.mark.thorough)])
def test_a_run_is_found_verified_and_reported(acdc, task, file, tmp_path, found_by):
    found = acdc("discover", "--task", file, "--model", "trio", "--out", tmp_path / "r", *found_by, "--json")
    assert found.code == 0 and 0 < found.json["edges"] < 100
    examples = json.loads((tmp_path / "r" / "examples.json").read_text())
    row = examples["rows"][0]
    assert [row["answer"], *(one["answer"] for one in row["later"])] == [5, 6, 7]
    assert [row["correct"], *(one["correct"] for one in row["later"])] == [[row["clean"][at]] for at in (2, 3, 4)]
    report = (tmp_path / "r" / "report.html").read_text()
    assert report.count('class="token last"') >= 3 and "their answers follow each other in that order" in report
    verification = json.loads((tmp_path / "r" / "verification.json").read_text())
    assert verification["rows"] == 12, "rows, not answers, are what is counted"


def test_long_rows_show_the_answers_that_fit(trio, task, monkeypatch):
    monkeypatch.setattr("acdc.verification.examples.MOST_TOKENS", 2)
    circuit = acdc.discover(trio, task, method="random", edges=20).circuit
    for example in take_examples(trio, task, circuit).rows:
        assert (example.start, [one.answer for one in example.answers]) == (6, [0, 1])
    assert "outlined" in examples_section(take_examples(trio, task, circuit), circuit)


def methods() -> list[str]:
    return [name for name in METHODS.built_in if Level.edges in METHODS[name].levels]


@pytest.mark.parametrize("method", methods())
def test_every_method_takes_several_answers(method):
    model, several_of = boot("gpt2", 1, seed=1), several(3, lengths=(6, 7), counts=(3, 2))
    options = {"updates": 3} if METHODS[method].learns_masks else {}
    size = {} if METHODS[method].decides else {"edges": 9}
    found = acdc.discover(model, several_of, method=method, limit=3, metric="logit_diff", **size, **options)
    assert found.circuit.edges and all(np.isfinite(edge.score) for edge in found.circuit.edges)


def test_maps_are_of_the_mean_over_answers(trio, task):
    """Patching everything at once gives the other prompt's metric, and later positions count from the last answer."""
    record = acdc.patch(trio, task, ["resid_pre"], by="positions", direction="denoise", limit=4, threads=1)
    behaviour = Behaviour(trio, task, range(4), METRICS["logit_diff"], "zero")
    assert record.metric_clean == pytest.approx(behaviour.full().mean(), abs=1e-9)
    assert record.map("resid_pre").columns == [str(place) for place in range(8)]
    found, rows = np.array(record.map("resid_pre").metric), task.rows[:4]
    for place in (2, 6):
        tokens = [[*row.corrupted[:place], row.clean[place], *row.corrupted[place + 1 :]] for row in rows]
        with torch.no_grad():
            logits = trio.bridge(torch.tensor(tokens))
        values = [
            np.mean(
                [
                    float(logits[i, a.position, a.correct[0]] - logits[i, a.position, a.incorrect[0]])
                    for a in row.answers
                ]
            )
            for i, row in enumerate(rows)
        ]
        assert found[0, place] == pytest.approx(np.mean(values), abs=1e-4)


def test_interventions_change_the_mean_over_answers():
    model, task = boot("llama", 2, seed=1), several(4, lengths=(6, 7), counts=(3, 2))
    given = parse_all(scale=["a0.h2@-1=3"])
    found = intervene(model, given, Wanted(task=task)).task
    expected = []
    for row in task.rows:
        bound = Binder(model, given).bind(Prompts.of([row]))
        logits = logits_under(model, bound, torch.tensor([row.clean]))[0]
        each = [
            logits[a.position][list(a.correct)].mean() - logits[a.position][list(a.incorrect)].mean()
            for a in row.answers
        ]
        expected.append(float(torch.stack(each).mean()))
        assert row.last_answer == Prompts.of([row]).looked_at[0]
    assert found.after.value == pytest.approx(np.mean(expected), abs=1e-9) and found.rows == 4


def test_attention_to_the_answer_is_to_the_own_one():
    """By loops: from each answer to its own correct tokens; from elsewhere to those of any."""
    model, task = boot("gpt2", 1, seed=1), several(5, lengths=(6, 7), counts=(2,))
    rows = tuple(replaced(row) for row in task.rows)
    behaviour = bind(model, acdc.Task("own", rows, "kl"), DiscoverySettings(), range(len(rows)))
    found = attention_shares(behaviour).whole[0, :, 1, TARGETS.index("answer token")]
    expected = []
    for batch in behaviour.batches:
        patterns = clean_patterns(behaviour, batch, 0)
        for place, row in enumerate(batch.rows):
            seen = [
                patterns[:, place, a.position, [k for k in range(a.position + 1) if row.clean[k] in a.correct]].sum(-1)
                for a in row.answers
            ]
            expected.append(torch.stack(seen).mean(0))
    assert found == pytest.approx(torch.stack(expected).mean(0).numpy(), abs=1e-12)


def replaced(row):
    """A row whose answers are tokens that it has: the first one, from where something else is seen too."""
    first, later = 2, row.later[0]
    return replace(
        row,
        answer_position=first,
        correct=(row.clean[0],),
        later=(replace(later, position=len(row.clean) - 1, correct=(row.clean[1],)),),
    )
