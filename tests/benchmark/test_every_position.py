"""Tracr's programs (Lindner et al. 2023, arXiv 2301.05062) say something at every position of a prompt: one row each.

They are compiled here: the share of a letter among the tokens so far, a number, over prompts of several lengths, whose
circuit is that of Tracr's own model (Conmy et al. 2023); and a prompt backwards, by attention in both directions."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from brute_force import NATIVE, BruteForce
from noise import apart

import acdc
from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.programs.compiler import LOGITS, Layout, compile_program
from acdc.benchmark.programs.language import Head, Match, Program, Variable
from acdc.benchmark.programs.library import LIBRARY
from acdc.benchmark.published import PUBLISHED
from acdc.model.load import load_model
from acdc.progress import nobody
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.pruning import Pruning
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.search.acdc.tester import WholeRuns
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

LONGEST = 4  # letters of a reversed prompt


def save_fraction(folder):
    """Its output is the share of letter 1: the weight of one value of two."""
    weights = compile_program(LIBRARY["fraction"].program)
    replace(weights, unembed=weights.unembed[:, 1:] / LOGITS).save(folder)


def fraction_rows():
    """Prompts of several lengths with an answer at each letter, and those with other letters everywhere."""
    drawn = np.random.default_rng(0)
    for length in (2, 3, 4, 5, 6, 6, 5, 4):
        clean = drawn.integers(1, 4, length)
        corrupted = (clean + drawn.integers(0, 2, length)) % 3 + 1
        answers = [{"position": at} for at in range(1, length + 1)]
        yield {"clean": [0, *clean.tolist()], "corrupted": [0, *corrupted.tolist()], "answers": answers}


def save_reverse(folder):
    """A head at each position copies the letter at the mirrored one."""
    tokens, positions = Variable("tokens", 4), Variable("positions", LONGEST + 1)
    mirror = Match.where(positions, positions, lambda here, there: there == LONGEST + 1 - here)
    program = Program(
        "reverse", tokens, positions, (Head(Variable("back", 4), tokens, (mirror,)),), Variable("back", 4)
    )
    assert Layout.of([tokens]).width == 4
    compile_program(program).save(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dir": "bidirectional"}))


def reverse_rows():
    drawn, prompts = np.random.default_rng(1), list(product((1, 2, 3), repeat=LONGEST))
    for place in drawn.permutation(len(prompts))[:10].tolist():
        clean = prompts[place]
        corrupted = tuple(letter % 3 + 1 for letter in clean)
        back = zip(clean[::-1], corrupted[::-1], strict=True)
        answers = [{"position": at, "correct": [a], "incorrect": [b]} for at, (a, b) in enumerate(back, start=1)]
        yield {"clean": [0, *clean], "corrupted": [0, *corrupted], "answers": answers}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = {}
    for name, save, rows in (("fraction", save_fraction, fraction_rows), ("reverse", save_reverse, reverse_rows)):
        folder = tmp_path_factory.mktemp(name)
        save(folder)
        (folder / "task.jsonl").write_text("\n".join(map(json.dumps, rows())))
        model = load_model(str(folder), dtype="float64")
        found[name] = model, load_task(folder / "task.jsonl", model)
    return found


def bound(made, name, metric=None, **options):
    model, task = made[name]
    return Behaviour(model, task, range(len(task.rows)), METRICS[metric or task.metric], **options)


def test_the_program_is_right_at_every_position(made):
    model, task = made["fraction"]
    for row in task.rows:
        said = model.bridge(torch.tensor([row.clean]))[0, :, 0].tolist()
        shares = [row.clean[: at + 1].count(1) / (at + 1) for at in range(len(row.clean))]
        assert said == pytest.approx(shares, abs=1e-9) and len(row.answers) == len(row.clean) - 1
    assert len({len(row.clean) for row in task.rows}) > 3 and task.metric == "squared_error"
    model, task = made["reverse"]
    for row in task.rows:
        said = model.bridge(torch.tensor([row.clean]))[0].argmax(-1).tolist()
        assert said[1:] == list(row.clean[:0:-1]) == [one.correct[0] for one in row.answers]


@pytest.mark.parametrize(("name", "metric"), [("fraction", "value"), ("fraction", "squared_error"), ("reverse", "kl")])
@pytest.mark.parametrize("ablation", ["resample", "zero"])
def test_a_row_is_the_mean_of_rows_of_one_answer(made, name, metric, ablation):
    model, task = made[name]
    one_each = apart(task)
    single = Behaviour(model, one_each, range(len(one_each.rows)), METRICS[metric], ablation)
    together = bound(made, name, metric, ablation=ablation)
    removed = np.eye(single.graph.n_edges, dtype=bool)
    ends = np.cumsum([len(row.answers) for row in task.rows])[:-1]
    expected = [part.mean(-1) for part in np.split(single.measure(removed)[0], ends, axis=-1)]
    assert np.abs(together.measure(removed)[0] - np.stack(expected, axis=-1)).max() < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("name", ["fraction", "reverse"])
def test_every_edge_equals_brute_force(made, name):
    model, task = made[name]
    oracle = BruteForce(model.bridge.original_model, NATIVE, model.anatomy.n_heads, model.anatomy.d_head)
    metric = "value" if name == "fraction" else "logit_diff"
    behaviour = bound(made, name, metric)
    found = behaviour.measure(np.eye(behaviour.graph.n_edges, dtype=bool))[0]
    for place, row in enumerate(task.rows[:4]):
        clean, corrupted = torch.tensor([row.clean]), torch.tensor([row.corrupted])
        (ours, residuals), (theirs, _) = oracle.contributions(clean), oracle.contributions(corrupted)
        for index, edge in enumerate(behaviour.graph.edges):
            change = theirs[edge.writer.id] - ours[edge.writer.id]
            logits = oracle.patched(clean, edge.reader.id, change, residuals)[0]
            each = [
                logits[a.position, 0]
                if metric == "value"
                else logits[a.position, a.correct[0]] - logits[a.position, a.incorrect[0]]
                for a in row.answers
            ]
            assert abs(float(torch.stack(each).mean()) - found[index, place]) < 1e-10, (row.id, edge.id)


TRUE = {
    ("fraction", "resample"): {"input->m0", "m0->a1.h0<v>", "a1.h0->logits"},
    ("reverse", "resample"): {"input->a0.h0<v>", "a0.h0->logits"},
}


@pytest.mark.parametrize(("name", "ablation"), TRUE)
def test_acdc_finds_the_program_and_decides_as_naive_acdc(made, name, ablation):
    behaviour = bound(made, name, ablation=ablation)
    tests = []
    for tester in (Increments(behaviour), WholeRuns(behaviour)):
        steps = list(receiver_steps(behaviour.graph, "descending"))
        pruning = Pruning(behaviour, tester, [1e-6], steps, np.ones(behaviour.graph.n_edges, dtype=bool))
        pruning.finish(nobody)
        found = pruning.results()[1e-6]
        assert set(behaviour.graph.ids(found.kept)) == TRUE[name, ablation]
        tests.append([(test.candidate, test.kept) for test in found.tests])
    assert tests[0] == tests[1]


def test_the_circuit_is_that_of_tracrs_own_model(made):
    graph = made["fraction"][0].graph
    assert PUBLISHED["tracr-xproportion-resample"].edges(graph) == TRUE["fraction", "resample"]


def test_the_published_case_takes_such_a_file(acdc, tmp_path):
    """A folder with the model and a task of one row a prompt, as a user would have it."""
    (tmp_path / "models" / "tracr-xproportion").mkdir(parents=True)
    save_fraction(tmp_path / "models" / "tracr-xproportion")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "tracr_xproportion.jsonl").write_text("\n".join(map(json.dumps, fraction_rows())))
    options = (
        "--suite",
        "published",
        "--cases",
        "tracr-xproportion-resample",
        "--data",
        tmp_path,
        "--out",
        tmp_path / "b",
    )
    rows = acdc("benchmark", *options, "--methods", "acdc,exact,eap", "--json").json["rows"]
    assert [(row["method"], row["status"], row["edge_f1"]) for row in rows] == [
        ("acdc", "done", 1.0), ("exact", "done", 1.0), ("eap", "done", 1.0)
    ]  # fmt: skip


def test_a_run_over_one_row_a_prompt_is_verified(made):
    model, task = made["reverse"]
    found = acdc.discover(model, task, method="acdc", metric="kl", threshold=0.01, limit=5)
    assert {edge.id for edge in found.circuit.edges} == TRUE["reverse", "resample"]
    report = acdc.verify(model, task, found.circuit)
    assert report.rows == 5 and report.measures["accuracy"].circuit == 1.0
