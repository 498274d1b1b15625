"""The three task formats say the same thing, and what they cannot say is refused with its place."""

import json

import pytest

from acdc.errors import InputError
from acdc.task.load import load_task
from acdc.task.rows import Answers

CLEAN = "apple river stone cloud apple"
CORRUPTED = "stone river apple cloud apple"


def write(path, text: str):
    path.write_text(text)
    return path


def test_formats_agree(tmp_path, trio):
    """The same row as JSONL, AutoCircuit JSON and EAP-IG CSV gives the same tokens."""
    row = {"clean": CLEAN, "corrupted": CORRUPTED, "correct": [" river"], "incorrect": [" cloud"]}
    jsonl = load_task(write(tmp_path / "a.jsonl", json.dumps(row)), trio)
    prompt = {"clean": CLEAN, "corrupt": CORRUPTED, "answers": [" river"], "wrong_answers": [" cloud"]}
    autocircuit = load_task(write(tmp_path / "b.json", json.dumps({"prompts": [prompt], "word_idxs": {}})), trio)
    (right,), (wrong,) = jsonl.rows[0].correct, jsonl.rows[0].incorrect
    text = f"clean,corrupted,correct_idx,incorrect_idx\n{CLEAN},{CORRUPTED},{right},[{wrong}]\n"
    csv = load_task(write(tmp_path / "c.csv", text), trio)
    single = {"clean": CLEAN, "corrupted": CORRUPTED, "correct": " river", "incorrect": " cloud"}
    listed = load_task(write(tmp_path / "d.json", json.dumps([single])), trio)
    text = f"clean,corrupted,correct,incorrect\n{CLEAN},{CORRUPTED}, river,\"[' cloud']\"\n"
    own = load_task(write(tmp_path / "e.csv", text), trio)
    rows = [task.rows[0] for task in (jsonl, autocircuit, csv, listed, own)]
    assert rows[0].clean[0] == trio.tokenizer.bos_token_id, "the tokenizer's own special tokens are added"
    for name in ("clean", "corrupted", "correct", "incorrect", "answer_position"):
        assert len({getattr(row, name) for row in rows}) == 1, name


def test_label_column_is_the_answer(tmp_path, trio):
    task = load_task(write(tmp_path / "t.csv", f"clean,corrupted,label\n{CLEAN},{CORRUPTED}, river\n"), trio)
    assert task.rows[0].correct == (trio.tokenizer.convert_tokens_to_ids("river"),)
    assert task.metric == "kl", "without incorrect answers there is no logit difference"


def test_token_ids_are_used_as_they_are(tmp_path, trio):
    row = {"clean": [5, 6, 7], "corrupted": [5, 8, 7], "correct": [9], "incorrect": [10], "id": 7, "surplus": {}}
    task = load_task(write(tmp_path / "t.jsonl", json.dumps(row)), trio)
    assert task.rows[0].clean == (5, 6, 7)
    assert (task.rows[0].id, task.rows[0].answer_position, task.metric) == ("7", 2, "logit_diff")


def test_several_answers_stand_by_position(tmp_path, trio):
    """Text at the last token continues the prompt, and elsewhere it is a token by itself; BOS is position 0."""
    answers = [
        {"position": "late", "correct": [" river"], "incorrect": [" cloud", 9]},
        {"position": 1, "correct": [" stone"]},
        {"position": -2, "incorrect": [4]},
    ]
    listed = {"clean": CLEAN, "corrupted": CORRUPTED, "spans": {"late": [4, 6]}, "answers": answers[:2]}
    task = load_task(write(tmp_path / "t.jsonl", json.dumps(listed)), trio)
    river, cloud, stone = trio.tokenizer.convert_tokens_to_ids(["river", "cloud", "stone"])
    (found,) = task.rows
    assert found.answers == (Answers(1, (stone,), ()), Answers(5, (river,), (cloud, 9)))
    assert (found.answer_position, found.last_answer, task.metric) == (1, 5, "kl")
    (found,) = load_task(write(tmp_path / "t.jsonl", json.dumps(listed | {"answers": answers})), trio).rows
    assert [one.position for one in found.answers] == [1, 4, 5]
    masked = {"clean": [1, 2, 3, 4], "mask": [0, 1, 1, 1], "answers": [{"position": 1}, {"position": -1}]}
    (found,) = load_task(write(tmp_path / "m.jsonl", json.dumps(masked)), trio).rows
    assert [one.position for one in found.answers] == [0, 2]
    with pytest.raises(InputError, match="answers: position 0 is hidden by the mask"):
        load_task(write(tmp_path / "m.jsonl", json.dumps(masked | {"answers": [{"position": 0}]})), trio)


def test_one_listed_answer_is_the_same_data(tmp_path, trio):
    plain = {"clean": CLEAN, "corrupted": CORRUPTED}
    one = plain | {"correct": [" river"], "incorrect": [" cloud"]}
    listed = plain | {"answers": [{"position": 5, "correct": [" river"], "incorrect": [" cloud"]}]}
    two = plain | {"answers": [*listed["answers"], {"position": 2, "correct": [3]}]}
    hashes = [load_task(write(tmp_path / "t.jsonl", json.dumps(r)), trio).content_hash() for r in (one, listed, two)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(("prepend", "first"), [(None, "<bos>"), (True, "<bos>"), (False, "apple")])
def test_header_decides_about_bos(tmp_path, trio, prepend, first):
    header = {"task": "named here", "metric": "nll", "prepend_bos": prepend}
    row = {"clean": CLEAN, "corrupted": CORRUPTED, "correct": [" river"]}
    task = load_task(write(tmp_path / "t.jsonl", f"{json.dumps(header)}\n{json.dumps(row)}\n"), trio)
    assert trio.tokenizer.convert_ids_to_tokens(task.rows[0].clean[0]) == first
    assert (task.name, task.metric) == ("named-here", "nll")


def test_other_keys_are_the_users_own(tmp_path, trio):
    load_task(write(tmp_path / "t.jsonl", row(clean2="x", note={}, ids=[1], answer="y", label=0)), trio)


def test_content_hash_is_of_tokens(tmp_path, trio):
    row = {"clean": CLEAN, "corrupted": CORRUPTED, "correct": [" river"], "id": "r"}
    text = load_task(write(tmp_path / "a.jsonl", json.dumps(row)), trio)
    tokens = load_task(
        write(
            tmp_path / "b.jsonl",
            json.dumps(
                {
                    "clean": list(text.rows[0].clean),
                    "corrupted": list(text.rows[0].corrupted),
                    "correct": list(text.rows[0].correct),
                    "id": "r",
                }
            ),
        ),
        trio,
    )
    assert text.content_hash() == tokens.content_hash()


def row(**changes) -> str:
    base = {"clean": CLEAN, "corrupted": CORRUPTED, "correct": [" river"], "incorrect": [" cloud"]}
    return json.dumps({**base, **changes})


def several(**answers) -> str:
    """A row whose answers are listed; without any given, one that has others besides."""
    own = {"clean": CLEAN, "corrupted": CORRUPTED, "answers": [{"position": 5, "correct": [" river"]}]}
    return json.dumps(own | (answers or {"answer_position": 3}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.jsonl", "", "no rows"),
        ("t.jsonl", '{"task": "only a header"}', "no rows"),
        ("t.jsonl", row() + "\n{not json}", r"line 2: not valid JSON"),
        ("t.jsonl", "[1, 2]", "line 1: expected a JSON object, got list"),
        ("t.jsonl", json.dumps({"corrupted": "x"}), "line 1: 'clean': missing"),
        ("t.jsonl", row(clean=""), "'clean': expected non-empty text"),
        ("t.jsonl", row(clean=[]), "'clean': expected non-empty text"),
        ("t.jsonl", row(clean=[1, -2]), "'clean': expected non-empty text"),
        ("t.jsonl", row(clean=[1, True]), "'clean'"),
        ("t.jsonl", '{"clean": [1, NaN], "corrupted": [1, 2]}', "line 1: NaN is not a value"),
        ("t.jsonl", row(clean=CLEAN + " river"), "clean has 7 tokens and corrupted 6; they must be equally long"),
        ("t.jsonl", row() + "\n" + row(correct=[" river stone"]), r"line 2: correct answer ' river stone' is not a"),
        ("t.jsonl", row(correct=["river"]), "leading space"),
        ("t.jsonl", row(correct=[" xylophone"]), "not a single token"),
        ("t.jsonl", row(clean="apple xylophone stone cloud apple"), "does not know"),
        ("t.jsonl", row(correct=[250]), "outputs end at 249"),
        ("t.jsonl", row(clean=[1, 999], corrupted=[1, 2]), "vocabulary ends at 249"),
        ("t.jsonl", row(clean=[1] * 33, corrupted=[2] * 33), "context ends at 32"),
        ("t.jsonl", row(answer_position=6), "answer_position 6 is past the last token, 5"),
        ("t.jsonl", row(answer_position=-1), "'answer_position': expected a position from 0"),
        ("t.jsonl", row(answer_position=1.5), "'answer_position'"),
        ("t.jsonl", several(), "answers take the place of correct, incorrect and answer_position"),
        ("t.jsonl", several(answers=[]), "'answers': expected a list of"),
        ("t.jsonl", several(answers=[" river"]), "line 1: 'answers': expected a list of {\"position\": ..., "),
        ("t.jsonl", several(answers=[{"position": 1, "corect": [3]}]), "'answers': expected a list of"),
        ("t.jsonl", several(answers=[{"correct": [3]}]), "'answers': expected a list of"),
        ("t.jsonl", several(answers=[{"position": 6}]), "line 1: answers: position 6 is past the last token, 5"),
        ("t.jsonl", several(answers=[{"position": -7}]), "answers: position -7 is before the first token"),
        ("t.jsonl", several(answers=[{"position": 5}, {"position": -1}]), "answers: position -1 is there twice"),
        ("t.jsonl", several(answers=[{"position": "end"}]), "position 'end' is no span of its clean prompt"),
        ("t.jsonl", several(answers=[{"position": 1, "correct": [" nope"]}]), "correct answer ' nope' is not a single"),
        ("t.jsonl", several(answers=[{"position": 2, "correct": [3], "incorrect": [3]}]), "token 3 is both"),
        ("t.jsonl", row(incorrect=[" river"]), "both a correct and an incorrect"),
        ("t.jsonl", row(correct=3), "'correct': expected a text, or a list"),
        ("t.jsonl", row(correct=""), "'correct': expected a text, or a list"),
        ("t.csv", "clean,corrupted,correct\na,b,[c\n", "line 2: correct: begins with"),
        ("t.csv", "clean,corrupted,correct,incorect\na,b,c,d\n", "did you mean 'incorrect'"),
        ("t.json", "[3]", "row 0: expected a JSON object"),
        ("t.jsonl", row(id="a") + "\n" + row(id="a"), "line 2: id 'a' was used before"),
        ("t.jsonl", '{"task": "t", "metric": "magic"}\n' + row(), "metric 'magic' is not one of"),
        ("t.json", "[]", "has no rows"),
        ("t.json", "3", "'prompts'"),
        ("t.json", '{"prompts": [3]}', "prompt 0: expected a JSON object"),
        ("t.json", '{"prompts": [{"corrupt": "apple"}]}', "prompt 0: 'clean': missing"),
        ("t.csv", "corrupted,label\na,b\n", "columns clean and corrupted"),
        ("t.csv", "clean,corrupted\na,b\n", "correct_idx"),
        ("t.csv", f"clean,corrupted,label\n{CLEAN},{CORRUPTED}\n", "line 2: expected 3 fields"),
        ("t.jsonl", row() + '\n{"clean": [5], "clean": [1], "corrupted": [5]}', "line 2: 'clean' occurs twice"),
        ("t.jsonl", '{"clean": [5], "corrupted": [5], "x": {"y": 1, "y": 2}}', "line 1: 'y' occurs twice"),
        ("t.jsonl", '{"metric": "kl", "metric": "nll"}\n' + row(), "line 1: 'metric' occurs twice"),
        ("t.json", '{"prompts": [], "prompts": []}', "'prompts' occurs twice"),
        ("t.json", '{"prompts": [{"clean": "a", "clean": "b"}]}', "'clean' occurs twice"),
        ("t.json", '{"prompts": [{"clean": [5], "corrupt": [6], "corrupted": [6]}]}', "'corrupt' and 'corrupted' say"),
        ("t.json", '{"prompts": [{"clean": [5], "answers": [6], "correct": [6]}]}', "'answers' and 'correct' say"),
        (
            "t.csv",
            f"clean,corrupted,clean,label\n{CLEAN},{CORRUPTED},{CLEAN},x\n",
            "several columns are called 'clean'",
        ),
        ("t.csv", f"clean,corrupt,label\n{CLEAN},{CORRUPTED}, river\n", "'corrupt' is no column"),
        ("t.jsonl", row(corrupt="x"), "line 1: 'corrupt' is no key of a task: did you mean 'corrupted'"),
        ("t.jsonl", row(Correct=["x"]), "did you mean 'correct'"),
        ("t.jsonl", row(incorect=["x"]), "did you mean 'incorrect'"),
        ("t.jsonl", row(wrong_answers=["x"]), "did you mean 'incorrect'"),
        ("t.jsonl", row(attention_mask=[1]), "did you mean 'mask'"),
        ("t.jsonl", '{"task": "t", "prepend-bos": true}\n' + row(), "did you mean 'prepend_bos'"),
        ("t.jsonl", '{"prepend_bos": "yes"}\n' + row(), "'prepend_bos': expected true or false, got \"yes\""),
        ("t.jsonl", '{"prepend_bos": 1}\n' + row(), "'prepend_bos': expected true or false, got 1"),
        (
            "t.csv",
            f"clean,corrupted,correct_idx\n{CLEAN},{CORRUPTED},x\n",
            "line 2: correct_idx: expected a token id or a list",
        ),
        ("t.csv", 'clean,corrupted,label\n"open,b,c\n', "line"),
        ("t.txt", "", "must end in"),
    ],
)
def test_refusals_name_file_and_row(tmp_path, trio, name, text, message):
    with pytest.raises(InputError, match=message) as refusal:
        load_task(write(tmp_path / name, text), trio)
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
