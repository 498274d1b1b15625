"""Which tokens of prompts of unequal length correspond, by their spans."""

import json

import pytest

from acdc.errors import InputError
from acdc.task.load import load_task
from acdc.task.pairing import Prompt, pair
from acdc.task.rows import bucket
from acdc.task.spans import Spans

CLEAN = "When Mary and John went to the store, John gave a drink to"
LONGER = "Then, Anna and Paul had a long talk at the park, and Mark gave a ring to"


def prompt(length: int, **bounds) -> Prompt:
    return Prompt(length, Spans.of(bounds))


def test_spans_are_paired_from_their_end_and_the_rest_between_them():
    found = pair(prompt(8, A=(2, 5), B=(6, 7)), prompt(8, A=(2, 4), B=(6, 7)))
    assert found == ((0,), (1,), (2, 3), (2,), (3,), (5,), (6,), (7,))
    found = pair(prompt(7, A=(2, 4), B=(5, 6)), prompt(9, A=(2, 5), B=(6, 7)))
    assert found == ((0,), (1,), (3,), (4,), (5,), (6,), (8,))


def test_what_comes_before_the_first_span_is_paired_from_its_beginning():
    """So that the first tokens, to which much attention goes, correspond."""
    assert pair(prompt(5, A=(3, 4)), prompt(3, A=(1, 2))) == ((0,), (0,), (0,), (1,), (2,))
    assert pair(prompt(3, A=(1, 2)), prompt(5, A=(3, 4))) == ((0,), (3,), (4,))


def test_a_stretch_that_the_corrupted_prompt_lacks_has_the_mean_of_its_rest():
    assert pair(prompt(5, A=(1, 2), B=(3, 4)), prompt(4, A=(1, 2), B=(2, 3))) == ((0,), (1,), (0, 3), (2,), (3,))
    with pytest.raises(
        InputError, match="corrupted has no token outside of its spans, and clean has one at position 0"
    ):
        pair(prompt(2, A=(1, 2)), prompt(1, A=(0, 1)))


def test_spans_in_another_order_leave_the_rest_in_its_own():
    assert pair(prompt(5, A=(1, 2), B=(3, 4)), prompt(5, B=(1, 2), A=(3, 4))) == ((0,), (3,), (2,), (1,), (4,))
    with pytest.raises(InputError, match="another order in clean and corrupted, .* 3 tokens in clean and 4"):
        pair(prompt(5, A=(1, 2), B=(3, 4)), prompt(6, B=(1, 2), A=(3, 4)))


def load(tmp_path, trio, **changes):
    row = {"clean": CLEAN, "corrupted": LONGER, "correct": [" Mary"], "incorrect": [" John"]} | changes
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({name: value for name, value in row.items() if value is not None}))
    return load_task(path, trio)


SPANS = {"IO": "Mary", "S1": {"text": "John", "occurrence": 1}, "S2": {"text": "John", "occurrence": 2}}
THEIRS = {"S2": "Mark", "IO": "Anna", "S1": "Paul"}


def test_rows_of_unequal_length_are_paired(tmp_path, trio):
    task = load(tmp_path, trio, spans=SPANS, corrupted_spans=THEIRS)
    (row,) = task.rows
    names = trio.tokenizer.convert_ids_to_tokens
    texts = [None if token is None else names(token) for token in row.counterparts]
    assert texts[:5] == ["<bos>", "Then", "Anna", "and", "Paul"]
    assert texts[-5:] == ["Mark", "gave", "a", "ring", "to"] and row.lengths == (15, 20)
    assert row.corrupted_positions == (19,) and row.corrupted_spans.names == row.spans.names
    other = load(tmp_path, trio, spans=SPANS, corrupted_spans=THEIRS | {"S1": [5, 7]})
    assert task.content_hash() != other.content_hash(), "the same tokens, and other ones that correspond"


def test_the_same_spans_in_both_prompts_are_as_none(tmp_path, trio):
    same = {"clean": [1, 2, 3], "corrupted": [1, 4, 3], "correct": [5], "incorrect": [6], "spans": {"a": [1, 2]}}
    plain = load(tmp_path, trio, **same)
    assert load(tmp_path, trio, **same, corrupted_spans={"a": 1}).rows == plain.rows
    assert plain.rows[0].pairing is None and plain.rows[0].counterparts == (1, 4, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, 'clean has 15 tokens and corrupted 20; they must be equally long, or have "spans" and "corrupted_spans"'),
        ({"spans": SPANS}, "they must be equally long, or have"),
        ({"corrupted_spans": THEIRS}, "corrupted_spans go with spans and a corrupted prompt"),
        ({"spans": SPANS, "corrupted_spans": THEIRS, "corrupted": None}, "corrupted_spans go with spans"),
        ({"spans": SPANS, "corrupted_spans": {"IO": "Anna"}}, "clean has the spans IO, S1, S2 and corrupted IO"),
        ({"spans": SPANS, "corrupted_spans": THEIRS | {"IO": "Mary"}}, "'Mary' does not occur in the prompt"),
        ({"spans": {"x": [12, 15]}, "corrupted_spans": {"x": [17, 19]}, "answer_position": 12}, "has no counterpart"),
        (
            {"clean": [1, 2], "corrupted": [1, 2, 3], "correct": [4], "incorrect": [5], "mask": [1, 1]}
            | {"spans": {"a": 1}, "corrupted_spans": {"a": 1}},
            "they must be equally long where there is a mask",
        ),
    ],
)
def test_what_does_not_say_what_corresponds_is_refused(tmp_path, trio, changes, message):
    with pytest.raises(InputError, match=rf"t\.jsonl, line 1: .*{message}"):
        load(tmp_path, trio, **changes)


def test_batches_have_corrupted_prompts_of_like_length_too(tmp_path, trio):
    unequal = load(tmp_path, trio, spans=SPANS, corrupted_spans=THEIRS).rows[0]
    equal = load(tmp_path, trio, corrupted=CLEAN.replace("Mary", "Anna")).rows[0]
    assert bucket([unequal, equal, equal], 4) == [[1, 2], [0]]
    assert bucket([unequal, equal, equal], 4, stretch=1.5) == [[1, 2, 0]]
    assert bucket([unequal, equal], 4, stretch=1.5, tokens=39) == [[1], [0]]
