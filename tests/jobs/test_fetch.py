"""Fetching runs again after they were verified further at the source, or here."""

import json
import shutil
from pathlib import Path

import pytest
from test_targets import artefacts

from acdc.errors import InputError
from acdc.jobs.batch import Silent, run_jobs
from acdc.jobs.executors import InProcess
from acdc.jobs.fetch import take
from acdc.jobs.job_folder import JobFolder
from acdc.jobs.jobs_file import make_jobs
from acdc.options import Extent, Scope
from acdc.progress import silent
from acdc.runs.extras import Extras
from acdc.runs.finish import Finishing, reverify
from acdc.runs.finished import FinishedRun

TABLE = {"task": ["few.jsonl", "ioi"], "method": "eap", "edges": 9, "limit": 8, "verify": "none", "threads": 1}
ANSWERS = ("correct", "incorrect")
_, QUICK, STANDARD, FULL = Extent


class CutOff(Exception):
    """What ends a verification between two stages."""


def run_of(folder: Path) -> Path:
    """The run that is verified."""
    (path,) = (path for path in folder.glob("*-trio-*") if not path.name.startswith("ioi"))
    return path


def verify(folder: Path, scope: Scope, repeats: int | None = None, stages: int | None = None) -> None:
    """Verify the run; `stages`: cut it off when so many have been measured."""
    left = stages

    def watch(run: FinishedRun) -> None:
        nonlocal left
        if left == 0:
            raise CutOff
        left = None if left is None else left - 1

    try:
        reverify(run_of(folder), None, None, "cpu", Finishing(silent, scope, watch=watch), Extras(repeats))
    except CutOff:
        return
    assert stages is None


@pytest.fixture(scope="module")
def states(tmp_path_factory, induction) -> dict[str, Path]:
    """The same folder of two jobs, one of them verified to different scopes."""
    parent = tmp_path_factory.mktemp("states")
    rows = [{name: getattr(row, name) for name in ("clean", "corrupted", *ANSWERS)} for row in induction.rows[:24]]
    (parent / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_jobs(make_jobs({}, [TABLE], parent), parent / "none", InProcess(), Silent())

    def state(name: str, before: str, scope: Scope, repeats: int | None = None, stages: int | None = None) -> None:
        shutil.copytree(parent / before, parent / name)
        verify(parent / name, scope, repeats, stages)

    state("quick on 8", "none", Scope(QUICK, 8))
    state("quick", "none", Scope(QUICK))
    state("standard on 8", "none", Scope(STANDARD, 8))
    state("standard", "quick", Scope(STANDARD))
    state("full", "standard", Scope(FULL))
    state("stable", "full", Scope(FULL), repeats=6)
    state("more stable", "full", Scope(FULL), repeats=7)
    state("standard on 8, more stable", "standard on 8", Scope(STANDARD, 8), repeats=7)
    state("begun", "quick", Scope(STANDARD), stages=1)
    state("half done", "quick", Scope(STANDARD), stages=2)
    state("full begun", "standard", Scope(FULL), stages=1)
    state("full begun at once", "none", Scope(FULL), stages=1)
    return {path.name: path for path in parent.iterdir() if path.is_dir()}


def fetched(states, name: str, out: Path) -> Path:
    take(JobFolder(states[name]), out)
    return out


FURTHER = [
    ("none", "quick on 8"),
    ("none", "half done"),
    ("quick on 8", "quick"),
    ("quick on 8", "standard on 8"),
    ("quick", "standard"),
    ("standard on 8", "full"),
    ("standard", "full"),
    ("full", "stable"),
    ("standard", "stable"),
    ("stable", "more stable"),
    ("begun", "half done"),
    ("half done", "standard"),
    ("begun", "full"),
    ("begun", "quick"),
    ("quick on 8", "begun"),
    ("quick", "full begun"),
    ("begun", "full begun"),
    ("full begun", "standard"),
    ("full begun", "full"),
]


@pytest.mark.parametrize("here, there", FURTHER)
def test_a_further_verification_replaces_one_that_is_less_far(states, tmp_path, here, there):
    out = fetched(states, here, tmp_path / "out")
    taken = {entry.name for entry in take(JobFolder(states[there]), out)}
    changed = {f"{run_of(out).name}/{file}" for file in ("verification.json", "report.html", "run.json")}
    same = artefacts(states[here])
    assert taken == {name for name in changed if artefacts(states[there])[name] != same.get(name)}
    assert f"{run_of(out).name}/verification.json" in taken
    assert artefacts(out) == artefacts(states[there])
    assert take(JobFolder(states[there]), out) == []


@pytest.mark.parametrize("there, here", FURTHER)
def test_a_verification_that_is_less_far_replaces_nothing_and_is_in_no_ones_way(states, tmp_path, there, here):
    out = fetched(states, here, tmp_path / "out")
    (other,) = out.glob("ioi-*")
    shutil.rmtree(other)
    taken = take(JobFolder(states[there]), out)
    assert {entry.name.split("/")[0] for entry in taken} == {other.name}
    assert artefacts(out) == artefacts(states[here])


@pytest.mark.parametrize(
    "one, other",
    [("quick", "standard on 8"), ("stable", "standard on 8, more stable"), ("begun", "full begun at once")],
)
def test_where_neither_verification_goes_further_none_is_replaced(states, tmp_path, one, other):
    for here, there in ((one, other), (other, one)):
        out = fetched(states, here, tmp_path / here)
        with pytest.raises(InputError, match="exists with other content: nothing was written"):
            take(JobFolder(states[there]), out)
        assert artefacts(out) == artefacts(states[here])


def damage(path: Path, text: str) -> None:
    path.write_text(text)


def of_another_circuit(path: Path) -> None:
    report = json.loads(path.read_text())
    report["removals"][0]["id"] = "a9.h9->logits"
    damage(path, json.dumps(report))


CHANGES = [
    ("circuit.svg", lambda path: damage(path, "<svg/>")),
    ("circuit.json", lambda path: damage(path, path.read_text() + "\n")),
    ("run.json", lambda path: damage(path, path.read_text().replace('"seconds": ', '"seconds": 1'))),
    ("run.json", lambda path: damage(path, path.read_text().replace('"circuit.json": "', '"circuit.json": "0'))),
    ("verification.json", lambda path: damage(path, "{")),
    ("verification.json", lambda path: damage(path, '{"extent": "full"}')),
    ("verification.json", of_another_circuit),
]


@pytest.mark.parametrize("file, change", CHANGES)
@pytest.mark.parametrize("side", ["here", "there"])
def test_whatever_else_differs_is_refused(states, tmp_path, side, file, change):
    here, there = fetched(states, "standard", tmp_path / "here"), tmp_path / "there"
    shutil.copytree(states["full"], there)
    change(run_of(here if side == "here" else there) / file)
    before = artefacts(here)
    with pytest.raises(InputError, match="nothing was written"):
        take(JobFolder(there), here)
    assert artefacts(here) == before


def test_a_page_alone_replaces_nothing(states, tmp_path):
    here = fetched(states, "full", tmp_path / "here")
    damage(run_of(here) / "report.html", "mine")
    with pytest.raises(InputError, match="report.html exists with other content"):
        take(JobFolder(states["full"]), here)
    assert (run_of(here) / "report.html").read_text() == "mine"


def test_a_folder_in_the_place_of_a_page_is_refused_before_anything_is_written(states, tmp_path):
    here = fetched(states, "standard", tmp_path / "here")
    (run_of(here) / "report.html").unlink()
    (run_of(here) / "report.html" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="report.html exists with other content"):
        take(JobFolder(states["full"]), here)
    report, old = (run_of(folder) / "verification.json" for folder in (here, states["standard"]))
    assert report.read_bytes() == old.read_bytes()


def test_fetching_that_was_cut_off_before_the_verification_goes_on(states, tmp_path):
    """Pages come before what they show."""
    here = fetched(states, "standard", tmp_path / "here")
    shutil.copy(run_of(states["full"]) / "report.html", run_of(here))
    taken = [Path(entry.name).name for entry in take(JobFolder(states["full"]), here)]
    assert taken == ["verification.json", "run.json"]
    (run_of(here) / "verification.json").unlink()
    shutil.copy(run_of(states["standard"]) / "report.html", run_of(here))
    shutil.copy(run_of(states["standard"]) / "run.json", run_of(here))
    assert len(take(JobFolder(states["full"]), here)) == 3
    assert artefacts(here) == artefacts(states["full"])


def test_a_verification_that_is_not_what_was_announced_is_not_believed(states, tmp_path):
    here = fetched(states, "standard", tmp_path / "here")

    class Liar(JobFolder):
        def read(self, entries):
            for entry, content in super().read(entries):
                yield entry, content.replace(b'"standard"', b'"full"')

    shutil.copytree(states["standard"], tmp_path / "there")
    path = run_of(tmp_path / "there") / "verification.json"
    damage(path, path.read_text() + "\n")
    with pytest.raises(InputError, match="other content than it had: fetch again"):
        take(Liar(tmp_path / "there"), here)
    assert artefacts(here) == artefacts(states["standard"])


def test_a_run_that_was_raised_by_its_job_file_is_fetched_again(acdc, tmp_path):
    """As a user does it."""
    text = '[[jobs]]\ntask = "induction"\nmethod = "eap"\nedges = 9\nlimit = 8\nverify = "{}"\n'
    for extent, number in (("quick", 8), ("standard", 3), ("quick", 0)):
        Path("jobs.toml").write_text(text.format(extent))
        assert acdc("run", "jobs.toml", "--out", "there").code == 0
        done = acdc("fetch", "there", "--out", "here", "--json")
        assert done.code == 0 and len(done.json["files"]) == number, done.err
        assert artefacts(tmp_path / "here") == artefacts(tmp_path / "there")
