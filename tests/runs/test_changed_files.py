"""Files of a run that were changed since it wrote them: said, and made again or refused."""

import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from run_records import without_digests

from acdc.artefacts.digests import ChangedFile
from acdc.artefacts.verification.report import Report

WORDS = ("discover", "--task", "induction", "--limit", "8", "--method", "eap", "--edges", "9", "--verify", "quick")
OF_A_RUN = {"circuit.json", "scores.json", "verification.json", "examples.json", "circuit.svg", "circuit.dot"}


def change(file: str, old: str, new: str) -> None:
    path = Path("r") / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def run(acdc, finished):
    shutil.copytree(finished, "r")
    return {path.name: path.read_bytes() for path in Path("r").iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from acdc.options import Extent
    from acdc.progress import silent
    from acdc.runs.discovery import run_discovery
    from acdc.runs.spec import DiscoveryJob
    from acdc.search.registry import METHODS
    from acdc.search.settings import DiscoverySettings

    folder = tmp_path_factory.mktemp("finished") / "r"
    settings = DiscoverySettings(method=METHODS.find("eap"), edges=9, limit=8)
    run_discovery(DiscoveryJob("trio", "induction", settings, verify=Extent.quick), folder, silent)
    return folder


def test_the_record_has_the_digest_of_every_file(run):
    recorded = json.loads(run.pop("run.json"))
    assert recorded["artefacts"] == {name: hashlib.sha256(content).hexdigest() for name, content in run.items()}
    assert set(recorded["artefacts"]) == OF_A_RUN | {"report.html"} and recorded["replaced"] == {}


CHANGES = [
    ("verification.json", '"faithfulness": ', '"faithfulness": 0.999, "was": '),
    ("circuit.json", '"score": ', '"score": 123.0, "was": '),
    ("scores.json", '": ', '": 123.0, "was": '),
    ("circuit.svg", "<svg", "<svg class='mine'"),
    ("report.html", "<html", "<html class='mine'"),
    ("examples.json", '"full": ', '"full": 123.0, "was": '),
]


@pytest.mark.parametrize("file, old, new", CHANGES)
def test_resuming_says_what_was_changed_and_makes_it_again(acdc, run, file, old, new):
    change(file, old, new)
    again = acdc(*WORDS, "--out", "r")
    assert again.code == 0 and f"r/{file} was changed since its run wrote it: it is made again" in again.err
    assert again.err.count("warning") == 1
    there = {path.name: path.read_bytes() for path in Path("r").iterdir()}
    assert there.keys() == run.keys()
    assert {name: there[name] for name in there if name != "run.json"} == {
        name: run[name] for name in run if name != "run.json"
    }
    assert acdc(*WORDS, "--out", "r").err == ""


@pytest.mark.parametrize("file, old, new", CHANGES[:2])
@pytest.mark.parametrize(
    "command",
    ["show r", "export r --format svg --out x.svg", "diff r r", "export r --format html --out x.html"],
)
def test_what_reads_a_changed_file_refuses(acdc, run, command, file, old, new):
    change(file, old, new)
    done = acdc(*command.split())
    assert done.code == 2 and f"r/{file} was changed since its run wrote it" in done.err and done.out == ""


def a_folder(path: Path) -> None:
    path.mkdir()


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    "put, what",
    [(a_folder, "is a folder"), (os.mkfifo, "is a named pipe"), (a_loop, "cannot be read: Too many levels")],
)
@pytest.mark.parametrize(
    "file, command",
    [
        ("run.json", "export r --format networkx --out x.json"),
        ("run.json", "diff r r"),
        ("verification.json", "show r"),
        ("verification.json", "export r --format svg --out x.svg"),
        ("examples.json", "export r --format html --out x.html"),
        ("scores.json", "export r --format eap-ig --out x.json"),
    ],
)
def test_what_is_no_file_does_not_pass_for_a_missing_one(acdc, run, file, command, put, what):
    Path("r", file).unlink()
    put(Path("r", file))
    done = acdc(*command.split())
    assert done.code == 2 and f"r/{file} {what}" in done.err and done.err.count("\n") == 1
    assert done.out == "" and not list(Path().glob("x.*"))


def test_scores_that_are_gone_are_missed(acdc, run):
    Path("r/scores.json").unlink()
    done = acdc("export", "r", "--format", "eap-ig", "--out", "x.json")
    assert done.code == 2 and "r/scores.json is missing, but its run wrote it" in done.err
    assert acdc(*WORDS, "--out", "r").code == 0
    assert Path("r/scores.json").read_bytes() == run["scores.json"]


def test_without_a_record_it_is_said_that_changes_are_not_known(acdc, run):
    Path("r/run.json").unlink()
    done = acdc("export", "r", "--format", "svg", "--out", "x.svg")
    assert (
        done.code == 0 and done.err == "acdc: warning: r has no run.json: whether its files were changed is not known\n"
    )


def test_a_run_whose_record_leads_nowhere_is_listed(acdc, run):
    Path("r/run.json").unlink()
    a_loop(Path("r/run.json"))
    done = acdc("list", "runs", "--out", ".")
    assert done.code == 0 and "damaged" in done.out


def test_both_runs_of_a_comparison_need_their_record(acdc, run):
    shutil.copytree("r", "s")
    Path("s/run.json").unlink()
    done = acdc("diff", "r", "s")
    assert done.code == 2 and "s is not a run of acdc: it has no run.json" in done.err


def test_verify_refuses_another_circuit_and_verifies_again(acdc, run):
    change(*CHANGES[0])
    done = acdc("verify", "r", "--verify", "quick")
    assert done.code == 0 and "verification.json was changed since its run wrote it: it is made again" in done.err
    assert Path("r/verification.json").read_bytes() == run["verification.json"]
    change(*CHANGES[1])
    done = acdc("verify", "r", "--verify", "quick")
    assert done.code == 2 and "circuit.json was changed" in done.err


def test_a_job_whose_run_was_changed_is_not_finished(acdc):
    Path("jobs.toml").write_text('[[jobs]]\ntask = "induction"\nmethod = "eap"\nedges = 9\nlimit = 8\nverify = "quick"')
    assert acdc("run", "jobs.toml", "--out", "o").code == 0
    (path,) = Path("o").glob("induction-*/verification.json")
    right = path.read_bytes()
    path.write_text(path.read_text().replace('"faithfulness": ', '"faithfulness": 0.999, "was": ', 1))
    assert "was changed since its run wrote it" in acdc("status", "o").out
    assert acdc("run", "jobs.toml", "--out", "o").code == 0
    assert path.read_bytes() == right
    assert "was changed since its run wrote it: it is made again" in acdc("logs", "o").out


def test_a_verification_that_a_run_did_not_write_is_none_of_its_own(acdc, run):
    Report.load("r")
    record = json.loads(Path("r/run.json").read_text())
    del record["artefacts"]["verification.json"]
    Path("r/run.json").write_text(json.dumps(record))
    with pytest.raises(ChangedFile):
        Report.load("r")


def test_a_run_without_digests_is_read_and_gets_them_when_it_is_verified(acdc, run):
    without_digests(Path("r"))
    assert acdc("show", "r").code == 0
    before = Path("r/run.json").read_bytes()
    assert acdc(*WORDS, "--out", "r").code == 0 and Path("r/run.json").read_bytes() == before
    assert acdc("verify", "r", "--verify", "standard").code == 0
    recorded = json.loads(Path("r/run.json").read_text())["artefacts"]
    assert recorded.keys() >= {"circuit.json", "scores.json", "verification.json"}
    assert acdc("show", "r").code == 0
    change(*CHANGES[1])
    assert acdc("show", "r").code == 2


def test_a_writer_that_was_killed_before_its_file_leaves_a_run_that_is_read(acdc, run, monkeypatch):
    """The digest is there, the file is still the one before."""
    from acdc.runs import run_directory

    written = run_directory.write_text

    class Killed(BaseException):
        pass

    def write_text(path, text):
        if path.name == "verification.json":
            raise Killed
        written(path, text)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(run_directory, "write_text", write_text)
        acdc("verify", "r", "--verify", "standard")
    record = json.loads(Path("r/run.json").read_text())
    assert record["replaced"]["verification.json"] == hashlib.sha256(run["verification.json"]).hexdigest()
    assert acdc("show", "r").err == "" and Path("r/verification.json").read_bytes() == run["verification.json"]
    assert acdc("verify", "r", "--verify", "standard").code == 0
    assert json.loads(Path("r/run.json").read_text())["replaced"] == {}


def test_a_finished_run_on_a_read_only_disk_answers(acdc, run, monkeypatch):
    """What opens for writing, makes or deletes fails as on such a disk."""
    import os
    import tempfile

    def refuse(path="", *args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    def refuse_what_is_new(path, mode=0o777, parents=False, exist_ok=False):
        if not (path.is_dir() and exist_ok):
            refuse()

    for module, name in ((tempfile, "mkstemp"), (os, "unlink"), (os, "mkdir")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(Path, "unlink", refuse)  # also of what is not there, as Linux does
    monkeypatch.setattr(Path, "mkdir", refuse_what_is_new)
    for command in (WORDS + ("--out", "r"), ("show", "r"), ("verify", "r", "--verify", "quick"), ("list", "runs")):
        done = acdc(*command)
        assert done.code == 0, (command, done.err)


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(acdc, run):
    import fcntl

    left, held, mine = (
        Path("r") / f".{name}.part" for name in ("report.html.abcd_123", "circuit.json.zzzz9999", "film")
    )
    for path in (left, held, mine):
        path.write_text("half")
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert acdc(*WORDS, "--out", "r").code == 0
    assert not left.exists() and held.exists() and mine.exists()
    assert acdc("verify", "r", "--verify", "quick").code == 0
    assert not held.exists() and mine.exists()


def test_folders_of_runs_are_their_users_alone(acdc):
    assert acdc(*WORDS, "--out", "new/r").code == 0 and acdc(*WORDS).code == 0
    (named,) = Path("runs").iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (Path("new/r"), named)] == [0o700, 0o700]
    Path("own").mkdir(mode=0o755)
    assert acdc(*WORDS, "--out", "own").code == 0 and stat.S_IMODE(Path("own").stat().st_mode) == 0o755
