"""Data sets of the library `datasets`, read from what it writes itself, and tasks of other packages."""

import json
import sys
from importlib.metadata import EntryPoint

import pytest

from acdc.errors import AcdcWarning, InputError
from acdc.task.load import load_task
from acdc.task.registry import TASKS, TaskFile

datasets = pytest.importorskip("datasets")

CLEAN, CORRUPTED = "apple river stone cloud apple", "stone river apple cloud apple"
ROW = {"clean": CLEAN, "corrupted": CORRUPTED, "correct": [" river"], "incorrect": [" cloud"]}
MIB = {  # as mib-bench/ioi has them
    "prompt": CLEAN,
    "template": "t",
    "choices": ["river", "cloud"],
    "answerKey": 0,
    "metadata": {"indirect_object": "river", "subject": "cloud", "random_c": "moon"},
    "abc_counterfactual": {"prompt": "cloud river apple cloud apple", "choices": ["x", "y"], "answerKey": 1},
    "s2_io_flip_counterfactual": {"prompt": CORRUPTED, "choices": ["river", "cloud"], "answerKey": 1},
}


@pytest.fixture
def expected(tmp_path, trio):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW))
    return load_task(tmp_path / "rows.jsonl", trio).rows[0]


def same(row, other) -> bool:
    names = ("clean", "corrupted", "correct", "incorrect", "answer_position")
    return all(getattr(row, name) == getattr(other, name) for name in names)


def save(rows: list[dict], path) -> str:
    datasets.Dataset.from_list(rows).save_to_disk(str(path))
    return f"hf:{path}"


def ids(row) -> dict:
    (right,), (wrong,) = row.correct, row.incorrect
    return {"clean": CLEAN, "corrupted": CORRUPTED, "correct_idx": right, "incorrect_idx": wrong}


def test_columns_of_every_tool(tmp_path, trio, expected):
    """The same row with the columns of acdc, AutoCircuit, EAP-IG and MIB's three kinds."""
    rows = {
        "acdc": ROW,
        "autocircuit": {"clean": CLEAN, "corrupt": CORRUPTED, "answers": [" river"], "wrong_answers": [" cloud"]},
        "eap-ig": ids(expected),
        "ioi": MIB,
        "arithmetic": {
            "prompt": CLEAN,
            "label": " river",
            "random_counterfactual": {"prompt": CORRUPTED, "label": " cloud"},
        },
        "mcqa": {
            "prompt": CLEAN,
            "choices": {"label": [" stone", " river"], "text": ["a", "b"]},
            "answerKey": 1,
            "symbol_counterfactual": {
                "prompt": CORRUPTED,
                "choices": {"label": [" cloud", " apple"], "text": ["a", "b"]},
                "answerKey": 0,
            },
        },
    }
    for name, row in rows.items():
        task = load_task(save([row], tmp_path / name), trio)
        assert same(task.rows[0], expected), name
        assert (task.name, task.metric) == (name, "logit_diff")
    assert load_task(f"hf:{tmp_path / 'ioi'}", trio).rows[0].group == "t"


def test_the_counterfactual_can_be_named(tmp_path, trio):
    name = save([MIB], tmp_path / "ioi")
    (row,) = load_task(f"{name}@abc_counterfactual", trio).rows
    assert trio.tokenizer.decode(row.corrupted).split()[1] == "cloud"
    with pytest.raises(InputError, match="its counterfactuals are abc_counterfactual, s2_io_flip_counterfactual"):
        load_task(f"{name}@no_counterfactual", trio)


@pytest.mark.parametrize("suffix", ["parquet", "json", "jsonl", "arrow"])
def test_files(tmp_path, trio, expected, suffix):
    table, path = datasets.Dataset.from_list([ROW]), tmp_path / f"pairs.{suffix}"
    if suffix == "parquet":
        table.to_parquet(path)
    elif suffix == "arrow":
        table.save_to_disk(str(tmp_path / "d"))
        next((tmp_path / "d").glob("*.arrow")).rename(path)
    else:
        path.write_text(json.dumps([ROW] if suffix == "json" else ROW))
    assert same(load_task(f"hf:{path}", trio).rows[0], expected)
    if suffix in ("parquet", "arrow"):
        assert same(load_task(path, trio).rows[0], expected), "without a prefix too"


def test_splits(tmp_path, trio):
    table = datasets.Dataset.from_list([ROW, ROW])
    datasets.DatasetDict(train=table, test=table.select([0])).save_to_disk(str(tmp_path / "pairs"))
    task = load_task(f"hf:{tmp_path / 'pairs'}:test", trio)
    assert (task.name, len(task.rows)) == ("pairs-test", 1)
    assert [row.id for row in load_task(f"hf:{tmp_path / 'pairs'}:train", trio).rows] == ["0", "1"]
    for name, message in (("", "name one of train, test"), (":dev", "has no split 'dev'; it has train, test")):
        with pytest.raises(InputError, match=message):
            load_task(f"hf:{tmp_path / 'pairs'}{name}", trio)


def test_the_hash_is_of_the_rows(tmp_path, trio):
    """Equal rows have one hash, whatever holds them, and other rows another."""
    first = load_task(save([ROW], tmp_path / "a"), trio)
    (tmp_path / "b.jsonl").write_text(json.dumps(ROW | {"id": "0"}))
    assert first.content_hash() == load_task(tmp_path / "b.jsonl", trio).content_hash()
    assert first.content_hash() != load_task(save([ROW | {"correct": [" apple"]}], tmp_path / "c"), trio).content_hash()


def test_runs_find_their_data_set_again(acdc, tmp_path, monkeypatch):
    """The run knows the folder's absolute path; its command names the data set as the user did."""
    rows = [
        ROW | {"clean": f"{word} {CLEAN}", "corrupted": f"{word} {CORRUPTED}"} for word in ("apple", "river", "stone")
    ]
    table = datasets.Dataset.from_list(rows)
    datasets.DatasetDict(test=table).save_to_disk("pairs")
    assert acdc("check-task", "hf:pairs:test", "--json").json["rows"] == 3
    done = acdc("discover", "--task", "hf:pairs:test", "--method", "random", "--edges", 40, "--limit", 2, "--out", "r")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["source"]["task"] == f"hf:{tmp_path / 'pairs'}:test" and "--task hf:pairs:test " in record["command"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert acdc("verify", tmp_path / "r").code == 0


def test_job_files_name_data_sets_from_where_they_are(tmp_path):
    from acdc.jobs.jobs_file import read_jobs

    save([ROW], tmp_path / "pairs")
    (tmp_path / "jobs.toml").write_text('[[jobs]]\ntask = ["hf:pairs@x", "hf:mib-bench/ioi:train"]\n')
    tasks = [job.task for job in read_jobs(tmp_path / "jobs.toml")]
    assert tasks == [f"hf:{tmp_path / 'pairs'}@x", "hf:mib-bench/ioi:train"]


def test_rows_without_a_counterfactual_are_left_out(tmp_path, trio):
    name = save([MIB, MIB | {"s2_io_flip_counterfactual": None}], tmp_path / "ioi")
    with pytest.warns(AcdcWarning, match="1 row without a counterfactual was left out"):
        assert len(load_task(name, trio).rows) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW | {"corrupted": "apple"}], "data set .*pairs, row 1: clean has 6 tokens and corrupted 2"),
        ([{"corrupted": "a"}], "expected columns clean and corrupted"),
        ([ROW | {"corrupt": "a", "corrupted": "b"}], "'corrupt' and 'corrupted' say the same"),
        ([ROW | {"incorect": "a"}], "pairs: 'incorect' is no key of a task: did you mean 'incorrect'"),
        ([ROW | {"clean": ""}], "row 0: 'clean': expected non-empty text"),
        (
            [MIB | {"metadata": None, "answerKey": 7}],
            "row 0: expected label, or choices and answerKey, got answerKey 7",
        ),
        ([MIB | {"s2_io_flip_counterfactual": None}], "pairs has no rows"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_refusals_name_data_set_and_row(tmp_path, trio, rows, message):
    with pytest.raises(InputError, match=message) as refusal:
        load_task(save(rows, tmp_path / "pairs"), trio)
    assert str(tmp_path / "pairs") in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:", "is not written hf:NAME"),
        ("hf:a:b:c", "is not written hf:NAME"),
        ("hf:setup.py", "must be a folder, or end in"),
        ("hf:empty", "cannot be loaded"),
        ("hf:no-such-owner/no-such-set:train", "cannot be loaded"),
    ],
)
def test_what_is_no_data_set(tmp_path, trio, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "setup.py").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        load_task(name, trio)


def test_without_the_library(monkeypatch, trio):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"install acdc\[datasets\]"):
        load_task("hf:mib-bench/ioi:train", trio)


def test_tasks_of_other_packages(tmp_path, trio, monkeypatch, expected):
    """An entry point to a task file or a generator makes a task of that name; a name is taken once."""
    import acdc.extensions
    from acdc.task.bundled import BUNDLED_TASKS

    module = type(sys)("other_package")
    module.pairs = TaskFile("pairs", tmp_path / "rows.jsonl", "of another package")
    module.taken, module.wrong = BUNDLED_TASKS["ioi"], 5
    monkeypatch.setitem(sys.modules, "other_package", module)

    def found(name: str):
        TASKS.reload()
        entry = EntryPoint(name, f"other_package:{name}", "acdc.tasks")
        monkeypatch.setattr(acdc.extensions, "entry_points", lambda group: [entry] if group == "acdc.tasks" else [])
        return dict(TASKS)

    try:
        assert found("pairs")["pairs"] is module.pairs
        assert load_task("pairs", trio).name == "pairs" and same(load_task("pairs", trio).rows[0], expected)
        for name, message in (
            ("taken", "the name 'ioi' is taken"),
            ("wrong", "no BundledTask or TaskFile but a int"),
        ):
            with pytest.raises(InputError, match=message):
                found(name)
    finally:
        TASKS.reload()
