"""What somebody sees who uses acdc for the first time: whose numbers these are, what they rest on, and what is next."""

import json
from pathlib import Path

import pytest

ROWS = [
    {
        "clean": f"When {a} and {b} went to the store, {b} gave a drink to",
        "corrupted": f"When {c} and {d} went to the store, {e} gave a drink to",
        "correct": [f" {a}"],
        "incorrect": [f" {b}"],
    }
    for a, b, c, d, e in (
        ("Mary", "John", "Anna", "Paul", "Mark"),
        ("Emma", "Mark", "Kate", "Adam", "John"),
        ("Paul", "Anna", "Jack", "Lisa", "Mary"),
        ("John", "Kate", "Mark", "Rose", "Emma"),
    )
]


@pytest.fixture
def run(acdc):
    """A small circuit that was verified on two rows."""
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    job = ("--task", "t.jsonl", "--method", "relp", "--absolute", "--edges", 40, "--limit", 2)
    return acdc("discover", *job, "--out", "r")


def test_discover_ends_with_the_verdict_and_says_that_the_rows_are_few(run):
    assert run.code == 0, run.err
    assert "\nrelp --absolute, logit_diff, resample ablation\n" in run.out and "|score|" in run.out
    end = run.out[run.out.index("On 2 rows") :]
    assert "faithful" in end and "recovers" in end
    assert "\n2 unseen rows are too few for any claim: it takes at least 8.\n" in end
    assert "of what lies between full model and empty circuit" in " ".join(end.split())
    assert "20 random circuits of " in run.out and " edges" in run.out


def test_what_is_shown_again_is_not_called_there_already(acdc, run):
    shown = acdc("show", "r").out
    assert "already there" not in shown and "run      r\n" in shown
    assert "\nshown: " not in shown and "\nnot shown: " not in shown, "nothing is claimed of two rows"
    assert "acdc open r" in shown and "acdc verify r" in shown


def test_equal_circuits_are_said_to_be_the_same_and_minimise_says_what_it_removed(acdc, run):
    assert "the two circuits have the same 40 edges" in acdc("diff", "r", "r").out
    done = acdc("minimise", "r", "--out", "m")
    assert done.code == 0 and "minimise removed " in done.out and " of 40 edges: without any one" in done.out


def test_scores_are_shown(acdc):
    words = ("score", "--task", "induction", "--method", "eap", "--limit", 4, "--out", "s")
    assert acdc(*words).out == acdc("show", "s").out
    assert acdc("show", "s", "--json").json["method"] == "eap"


def test_a_task_file_is_read_before_the_model_and_all_of_its_faults_are_said(acdc):
    rows = [*({**row, "correct": 3.5} for row in ROWS), *({**row, "clean": 3} for row in ROWS)]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = acdc("check-task", "t.jsonl", "--model", "nowhere")
    said = done.err.splitlines()
    assert done.code == 2 and [f"line {number}" in line for number, line in enumerate(said[:5], 1)] == [True] * 5
    assert said[5:] == ["acdc: error: and 3 more rows cannot be used"]


def test_rows_that_do_not_fit_a_model_are_said_together(acdc):
    rows = [{**row, "corrupted": f"{row['corrupted']} zyx"} for row in ROWS[:3]]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = acdc("check-task", "t.jsonl", "--model", "trio")
    assert done.code == 2 and done.err.count("acdc: error: t.jsonl, line") == 3


def test_prompts_are_asked_for_before_a_model_is_loaded(acdc):
    done = acdc("explain", "a3.h2", "--model", "nowhere")
    assert (done.code, done.err) == (2, "acdc: error: give --text FILE or --task TASK: prompts are needed\n")


def test_a_missing_argument_comes_with_an_example(acdc):
    assert acdc("show").err == (
        "acdc: error: Missing argument 'RUN'. example: acdc show runs/ioi-trio-acdc-001; 'acdc list runs' lists runs\n"
    )
    assert "example: acdc status my-jobs" in acdc("status").err


def test_words_that_a_model_does_not_know_are_warned_of_once(acdc):
    done = acdc("intervene", "--prompt", "The capital of France is", "--set", "a1.h0=0")
    assert done.code == 0 and done.err.count("acdc: warning: trio does not know") == 1
    assert "of the prompt's 6 tokens are the unknown token" in done.err
