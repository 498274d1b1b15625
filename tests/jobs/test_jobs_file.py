"""Job files: what they stand for, what is wrong with them, and what makes two jobs the same."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import acdc
from acdc.errors import InputError, InputErrors
from acdc.jobs.jobs_file import read_jobs
from acdc.jobs.planned import plan_jobs
from acdc.model.sources import BUNDLED
from acdc.options import Level
from acdc.runs.spec import DiscoveryJob
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

ROW = {"clean": [5, 6, 7], "corrupted": [5, 8, 7], "correct": [9], "incorrect": [10]}
OTHER_ROW = {"clean": [6, 6, 7], "corrupted": [6, 8, 7], "correct": [9], "incorrect": [10]}


@pytest.fixture
def read(tmp_path):
    """The jobs of a file of the given text."""

    def read(text: str) -> list[DiscoveryJob]:
        (tmp_path / "jobs.toml").write_text(text)
        return read_jobs(tmp_path / "jobs.toml")

    return read


def write_task(path: Path, *rows: dict) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_job_is_what_discover_does_by_default(read):
    default = DiscoveryJob("trio", "ioi", DiscoverySettings())
    assert read("[[jobs]]") == read("[defaults]") == [default]
    assert read("[[jobs]]\n[[jobs]]\nseed = 1") == [default, replace(default, settings=DiscoverySettings(seed=1))]


def test_defaults_hold_for_all_and_a_job_for_itself(read):
    first, second = read('[defaults]\nmethod = "eap"\nedges = 5\n[[jobs]]\n[[jobs]]\nedges = 7\nlevel = "nodes"')
    assert (first.settings.method.name, first.settings.edges) == ("eap", 5)
    assert (second.settings.method.name, second.settings.edges, second.settings.level) == ("eap", 7, Level.nodes)


def test_lists_are_grids(read):
    jobs = read('[defaults]\nseed = [3, 4]\n[[jobs]]\nmethod = ["eap", "exact"]\nbatch-size = 8\n[[jobs]]\nseed = 5')
    found = [(job.settings.seed, job.settings.method.name, job.settings.batch_size) for job in jobs]
    assert found == [(3, "eap", 8), (3, "exact", 8), (4, "eap", 8), (4, "exact", 8), (5, "acdc", 32)]


def test_paths_are_relative_to_the_file(read, tmp_path, monkeypatch):
    write_task(tmp_path / "t.jsonl", ROW)
    shutil.copytree(BUNDLED["trio"], tmp_path / "m")
    (tmp_path / "trio").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    own, bundled = read('[[jobs]]\nmodel = "./m"\ntask = "t.jsonl"\n[[jobs]]\nmodel = "trio"\ntask = "ioi"')
    assert (own.model, own.task) == (str(tmp_path / "m"), str(tmp_path / "t.jsonl"))
    assert (bundled.model, bundled.task) == ("trio", "ioi")


BAD_FILES = [
    ("[[jobs]", "is not valid TOML"),
    ("[[jobs]]\nseed = 1\nseed = 2", "is not valid TOML"),
    ("", "at least one table [[jobs]]"),
    ("jobs = []", "at least one table [[jobs]]"),
    ("jobs = 5", "at least one table [[jobs]]"),
    ("[jobs]\nseed = 1", "at least one table [[jobs]]"),
    ("defaults = 5\n[[jobs]]", "defaults: must be a table"),
    ("seed = 1\n[[jobs]]", "seed: a job file has the tables defaults and jobs"),
]

BAD_JOBS = [
    ("tau = 1", "tau: is not an option of 'acdc discover'"),
    ("batch_size = 1", "batch_size: is not an option of 'acdc discover'"),
    ("out = 'x'", "out: is not an option of 'acdc discover'"),
    ("seed = 'one'", "seed: input should be a valid integer, not 'one'"),
    ("seed = 1.5", "seed: "),
    ("seed = true", "seed: "),
    ("seed = -1", "--seed -1 must not be negative"),
    ("threshold = '1'", "threshold: "),
    ("threshold = nan", "--threshold nan must be a positive number"),
    ("threshold = 2020-01-01", "threshold: "),
    ("direct-edges = 1", "direct-edges: "),
    ("level = 'layers'", "level: "),
    ("verify = 'some'", "verify: "),
    ("verify-rows = 0", "--verify-rows 0 must be at least 1"),
    ("verify-rows = [8, -1]", "--verify-rows -1 must be at least 1"),
    ("seed = []", "seed: an empty list stands for no job"),
    ("seed = [[1, 2]]", "seed: "),
    ("seed = {a = 1}", "seed: "),
    ("method = 'magic'", "'magic' is not one of"),
    ("method = 'eap'\nthreshold = 1\nedges = 2", "only one of --threshold, --edges"),
]

UNUSABLE_JOBS = [
    ("model = 'no/such/folder/here'", "does not exist"),
    ("task = 'nowhere.jsonl'", "neither a bundled task"),
    ("task = 'bad.jsonl'", "line 1: not valid JSON"),
    ("metric = 'magic'", "'magic' is not one of"),
    ("ablation = 'magic'", "magic"),
    ("limit = 1000", "rows"),
    ("dtype = 'float8'", "float8"),
    ("device = 'cuda:99'", "not available on this machine"),
]


def refuse(acdc, text: str) -> list[str]:
    """What `acdc run` finds wrong with a file; nothing else may come of it."""
    Path("jobs.toml").write_text(text)
    Path("bad.jsonl").write_text("{")
    before = sorted(Path().rglob("*"))
    done = acdc("run", "jobs.toml")
    assert done.code == 2 and done.out == "" and "Traceback" not in done.err
    assert sorted(Path().rglob("*")) == before, "a refusal leaves nothing behind"
    lines = done.err.splitlines()
    assert lines and all(line.startswith("acdc: error: ") for line in lines)
    return lines


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_file_that_is_none_is_refused(acdc, text, message):
    (line,) = refuse(acdc, text)
    assert "jobs.toml" in line and message in line


@pytest.mark.parametrize(("keys", "message"), [*BAD_JOBS, *UNUSABLE_JOBS])
def test_a_bad_job_is_named(acdc, keys, message):
    (line,) = refuse(acdc, f"[[jobs]]\n[[jobs]]\n{keys}")
    assert "job 2: " in line and message in line


@pytest.mark.parametrize("table", [BAD_JOBS, UNUSABLE_JOBS], ids=["keys", "content"])
def test_all_that_is_wrong_is_said_at_once(acdc, table):
    lines = refuse(acdc, "".join(f"[[jobs]]\n{keys}\n" for keys, _ in table))
    for number, (_, message) in enumerate(table, start=1):
        assert any(f"job {number}: " in line and message in line for line in lines), message


def test_what_is_wrong_with_defaults_is_said_of_each_job(acdc):
    lines = refuse(acdc, "[defaults]\nseed = -1\n[[jobs]]\n[[jobs]]\nmethod = 'eap'\ntau = 1")
    assert [line.partition("job ")[2][0] for line in lines] == ["1", "2"]


def test_no_jobs_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one table"):
        acdc.run_jobs([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, lambda path: path.write_bytes(b"\xff\xfe")])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, make):
    make(tmp_path / "jobs.toml")
    with pytest.raises(InputError, match="jobs.toml") as refusal:
        read_jobs(tmp_path / "jobs.toml")
    assert not isinstance(refusal.value, InputErrors) and "\n" not in str(refusal.value)


# Ids


@pytest.fixture
def base(tmp_path):
    """A job of a model folder and a task file."""
    shutil.copytree(BUNDLED["trio"], tmp_path / "m")
    task = write_task(tmp_path / "t.jsonl", ROW, OTHER_ROW)
    return DiscoveryJob(str(tmp_path / "m"), str(task), DiscoverySettings(method=METHODS["eap"], metric="logit_diff"))


def id_of(job: DiscoveryJob, folder: Path) -> str:
    (planned,) = plan_jobs([job], folder / "out")
    assert planned.path.name.endswith(planned.id)
    return planned.id


SETTINGS = {
    "method": METHODS["exact"],
    "metric": "nll",
    "ablation": "zero",
    "threshold": 0.5,
    "edges": 3,
    "faithfulness": 0.5,
    "choose": "greedy",
    "limit": 1,
    "batch_size": 7,
    "split_embeddings": True,
    "level": Level.nodes,
    "seed": 1,
    "threads": 1,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_id_changes_with_every_setting(base, tmp_path, name):
    changed = replace(base, settings=replace(base.settings, **{name: SETTINGS[name]}))
    assert id_of(changed, tmp_path) != id_of(base, tmp_path)


def test_the_id_changes_with_the_arithmetic(base, tmp_path):
    assert id_of(replace(base, dtype="float64"), tmp_path) != id_of(base, tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"clean": [5, 6, 8]}, {"corrupted": [5, 9, 7]}, {"correct": [11]}, {"incorrect": [11]}, {"answer_position": 1}],
    ids=lambda change: next(iter(change)),
)
def test_the_id_changes_with_the_content_of_the_task(base, tmp_path, change):
    before = id_of(base, tmp_path)
    write_task(Path(base.task), {**ROW, **change}, OTHER_ROW)
    assert id_of(base, tmp_path) != before


def test_the_id_changes_with_the_order_of_rows(base, tmp_path):
    before = id_of(base, tmp_path)
    write_task(Path(base.task), OTHER_ROW, ROW)
    assert id_of(base, tmp_path) != before


def test_the_id_changes_with_the_content_of_the_model(base, tmp_path):
    before, path = id_of(base, tmp_path), Path(base.model) / "model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, path, metadata={"format": "pt"})
    assert id_of(base, tmp_path) != before


def test_the_id_does_not_change_with_names_places_or_the_device(base, tmp_path):
    (tmp_path / "sub").mkdir()
    model = shutil.copytree(base.model, tmp_path / "sub/another name")
    task = shutil.copy(base.task, tmp_path / "sub/u.jsonl")
    moved = replace(base, model=str(model), task=str(task), device="cpu")
    assert id_of(moved, tmp_path / "sub") == id_of(base, tmp_path)


def test_the_id_does_not_change_with_the_order_of_keys(read, tmp_path):
    (first,) = read('[[jobs]]\nseed = 1\nmethod = "eap"')
    (second,) = read('[defaults]\nmethod = "eap"\n[[jobs]]\nseed = 1')
    assert id_of(first, tmp_path) == id_of(second, tmp_path)


def test_equal_jobs_are_one(base, tmp_path):
    copy = shutil.copytree(base.model, tmp_path / "copy")
    jobs = [base, replace(base, model=str(copy)), replace(base, device="cpu"), replace(base, dtype="float64"), base]
    assert len(plan_jobs(jobs, tmp_path / "out")) == 2


def test_a_job_keeps_the_folder_in_which_it_was_begun(base, tmp_path):
    (planned,) = plan_jobs([base], tmp_path / "out")
    planned.path.mkdir(parents=True)
    renamed = shutil.move(base.model, tmp_path / "renamed")
    (again,) = plan_jobs([replace(base, model=str(renamed))], tmp_path / "out")
    assert again.path == planned.path
