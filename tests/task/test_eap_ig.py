"""EAP-IG's sets of columns are read as its own code reads them (its `dataset.py` and `metrics.py`)."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizer_kinds import gpt2, llama2, of_words

from acdc.errors import AcdcWarning, InputError
from acdc.jobs.jobs_file import read_jobs
from acdc.jobs.packing import pack
from acdc.task.load import load_task

CLEAN, CORRUPTED = "apple river stone cloud apple", "stone river apple cloud apple"
YEARS = (
    "The war lasted from the year 1752 to the year 17,The war lasted from the year 1701 to the year 17,52\n"
    "The war lasted from the year 1634 to the year 16,The war lasted from the year 1601 to the year 16,34\n"
)
OUTSIDE = "cases/outside"


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def later(tokenizer, year: int) -> tuple[set[int], set[int]]:
    """(ids of later two-digit years, ids of the others), as EAP-IG makes them."""
    ids = [tokenizer(f"{number:02d}", add_special_tokens=False)["input_ids"][0] for number in range(100)]
    return set(ids[year + 1 :]), set(ids[: year + 1])


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        ("correct_idx,incorrect_idx", "7,9"),
        ("clean_answer_idx,corrupted_answer_idx,label", "7,9,0"),
        ("capital,country,country_idx,corrupted_country_idx", "a,b,7,9"),
        ("answers,answers_idx,corrupted_answers_idx", "['a'],[7],[9]"),
    ],
)
def test_token_columns(tmp_path, trio, columns, cells):
    task = load_task(written(tmp_path, f"clean,corrupted,{columns}\n{CLEAN},{CORRUPTED},{cells}\n"), trio)
    assert (task.rows[0].correct, task.rows[0].incorrect, task.metric) == ((7,), (9,), "logit_diff")


def test_lists_of_token_ids(tmp_path, trio):
    text = f'clean,answers_idx,corrupted,corrupted_answers_idx\n{CLEAN},"[7, 8]",{CORRUPTED},"[9, 10]"\n'
    (row,) = load_task(written(tmp_path, text), trio).rows
    assert (row.correct, row.incorrect) == ((7, 8), (9, 10))


@pytest.mark.parametrize("column", ["correct_idx", "label"])
def test_years_that_the_prompt_names(tmp_path, trio, column):
    path = written(tmp_path, f"clean,corrupted,{column}\n{YEARS}")
    with pytest.warns(AcdcWarning, match=f"{column} is taken for the year that the prompt names: later years") as told:
        rows = load_task(path, trio).rows
    assert len(told) == 1, "once for all rows"
    for row, year in zip(rows, (52, 34), strict=True):
        assert (set(row.correct), set(row.incorrect)) == later(trio.tokenizer, year)


@pytest.mark.parametrize(
    ("clean", "label"),
    [
        ("The war lasted from the year 1752 to the year 17", 1752),
        ("the year 1652 to the year 1752 to the year 17", 52),
    ],
)
def test_other_ways_to_name_a_year(tmp_path, trio, clean, label):
    path = written(tmp_path, f"clean,corrupted,label\n{clean},{clean.replace('52', '01')},{label}\n")
    with pytest.warns(AcdcWarning, match="later years are right"):
        assert set(load_task(path, trio).rows[0].correct) == later(trio.tokenizer, 52)[0]


@pytest.mark.parametrize(("column", "value"), [("label", 0), ("label", "1.0"), ("correct_idx", 7)])
def test_a_number_alone_is_refused_unless_it_is_said_what_it_is(tmp_path, trio, column, value):
    path = written(tmp_path, f"clean,corrupted,{column}\n{CLEAN},{CORRUPTED},{value}\n")
    with pytest.raises(InputError, match=f"line 2: {column} is .*could be a token, a class or a year: add @{column}="):
        load_task(path, trio)
    assert load_task(f"{path}@{column}=none", trio).rows[0].correct == ()


def test_what_the_user_says_of_a_column(tmp_path, trio):
    path = written(tmp_path, f"clean,corrupted,label,x\n{CLEAN},{CORRUPTED},7, river\n")
    assert load_task(f"{path}@label=token", trio).rows[0].correct == (7,)
    assert load_task(f"{path}@x=text", trio).rows[0].correct == (trio.tokenizer.convert_tokens_to_ids("river"),)
    row = load_task(f"{path}@label=year", trio).rows[0]
    assert (set(row.correct), set(row.incorrect)) == later(trio.tokenizer, 7)
    for said, message in (("label=colour", "a column can be token, year, text, none"), ("y=year", "has no column 'y'")):
        with pytest.raises(InputError, match=message):
            load_task(f"{path}@{said}", trio)
    with pytest.raises(InputError, match="has no columns: leave out @label=year"):
        load_task(f"{written(tmp_path, '{}', 't.jsonl')}@label=year", trio)


def test_two_sets_of_answers_are_refused(tmp_path, trio):
    path = written(tmp_path, f"clean,corrupted,country_idx,answers_idx\n{CLEAN},{CORRUPTED},7,[8]\n")
    with pytest.raises(InputError, match="both country_idx and answers_idx could be the answers"):
        load_task(path, trio)
    assert load_task(f"{path}@answers_idx=token", trio).rows[0].correct == (8,)


def test_the_number_of_verbs(tmp_path):
    """The sums that EAP-IG takes: single tokens after a space; plurals only where the singular is one."""
    tokenizer = gpt2()
    model = SimpleNamespace(tokenizer=tokenizer, anatomy=SimpleNamespace(d_vocab=20_000, d_vocab_out=20_000, n_ctx=99))
    path = written(tmp_path, "clean,corrupted,group,plural\nthe car,the park,a,0\nthe park,the car,b,1\n")
    with pytest.raises(InputError, match="put EAP-IG's combined_verb_list.csv, which lists the verbs, beside it"):
        load_task(path, model)
    pairs = "_,is,are,_\n_,qqxzqq,car,_\n_,store,qqxzqq,_\n"
    written(tmp_path, f"idx,sing,plur,freq\n{pairs}", "combined_verb_list.csv")
    singular, plural = ({tokenizer(text)["input_ids"][0] for text in texts} for texts in ((" is", " store"), (" are",)))
    one, many = load_task(path, model).rows
    assert (set(one.correct), set(one.incorrect), one.group) == (singular, plural, "a")
    assert (set(many.correct), set(many.incorrect), many.group) == (plural, singular, "b")


def test_a_tokenizer_that_splits_years_is_refused(tmp_path):
    model = SimpleNamespace(tokenizer=llama2(), anatomy=SimpleNamespace(d_vocab=20_000, d_vocab_out=20_000, n_ctx=99))
    path = written(tmp_path, f"clean,corrupted,label\n{YEARS}")
    warnings.simplefilter("ignore", AcdcWarning)
    with pytest.raises(InputError, match="00 is not a single token .*the bundled task greater_than adapts"):
        load_task(path, model)


def test_runs_and_job_files_keep_what_was_said(acdc, tmp_path):
    prompts = [(f"{word} {CLEAN}", f"{word} {CORRUPTED}") for word in ("apple", "river", "stone")]
    written(tmp_path, "clean,corrupted,label\n" + "".join(f"{a},{b},{7 + i}\n" for i, (a, b) in enumerate(prompts)))
    found = acdc(
        "discover", "--task", "t.csv@label=token", "--method", "eap", "--edges", 30, "--metric", "nll", "--out", "r"
    )
    assert found.code == 0, found.err
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["source"]["task"] == f"{tmp_path / 't.csv'}@label=token"
    assert "--task t.csv@label=token " in record["command"]
    assert acdc("verify", "r").code == 0
    written(tmp_path, '[[jobs]]\ntask = "t.csv@label=token"\n[[jobs]]\ntask = "t.csv@label=no"\n', "bad.toml")
    with pytest.raises(InputError, match="job 2: 'label=no': a column can be"):
        read_jobs(tmp_path / "bad.toml")
    written(tmp_path, '[[jobs]]\ntask = "t.csv@label=token"\n', "jobs.toml")
    (job,) = read_jobs(tmp_path / "jobs.toml")
    assert job.task == f"{tmp_path / 't.csv'}@label=token"
    (tmp_path / "packed").mkdir()
    pack([job], tmp_path / "packed")
    (packed,) = read_jobs(tmp_path / "packed/jobs.toml")
    assert packed.task == f"{tmp_path / 'packed/inputs/1/t.csv'}@label=token" and Path(packed.task[:-12]).is_file()


def test_the_outsiders_files(shared):
    """Each file of a set of columns that was misread."""
    if not (shared / OUTSIDE).is_dir():
        pytest.skip("the outsiders' cases are absent from the reference material")
    tokenizer = of_words(*(path.read_text() for path in (shared / OUTSIDE).glob("*.csv")))
    model = SimpleNamespace(tokenizer=tokenizer, anatomy=SimpleNamespace(d_vocab=999, d_vocab_out=999, n_ctx=99))
    rows = load_task(shared / OUTSIDE / "eapig-gender.csv", model).rows
    assert [(row.correct, row.incorrect) for row in rows] == [((673,), (339,)), ((339,), (673,))] * 2
    for name in ("correctidx", "label"):
        with pytest.warns(AcdcWarning, match="later years are right"):
            rows = load_task(shared / OUTSIDE / f"eapig-greater-{name}.csv", model).rows
        for row, year in zip(rows, (52, 34, 67, 88), strict=True):
            assert (set(row.correct), set(row.incorrect)) == later(model.tokenizer, year)
