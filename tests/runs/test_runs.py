"""Run directories: what is in them, resuming, refusing, and equal bytes for equal inputs."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import command_in
from run_records import without_digests

FILES = {"circuit.json", "circuit.dot", "circuit.svg", "report.html", "verification.json", "run.json", "examples.json"}
PAGE = ("examples.json", "report.html")
QUICK = ("discover", "--task", "induction", "--limit", "16", "--threshold", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    command_in(folder, *QUICK, "--out", "r")
    return folder / "r"


@pytest.fixture
def run(acdc, made, tmp_path):
    """A run in the folder `r`, which a test may change."""
    return shutil.copytree(made, tmp_path / "r")


def test_files_of_a_run(acdc, tmp_path):
    assert acdc(*QUICK, "--out", "r").code == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES | {"decisions.jsonl"}
    tests = [json.loads(line) for line in (tmp_path / "r/decisions.jsonl").read_text().splitlines()]
    circuit = json.loads((tmp_path / "r/circuit.json").read_text())
    assert {t["edge"] for t in tests if t["kept"]} == {edge["id"] for edge in circuit["edges"]}
    assert circuit["method"]["objective"] == "neg_logit_diff"
    assert (
        acdc("discover", "--task", "induction", "--limit", "16", "--method", "eap", "--edges", "20", "--out", "s").code
        == 0
    )
    assert {path.name for path in (tmp_path / "s").iterdir()} == FILES | {"scores.json"}
    assert len(json.loads((tmp_path / "s/scores.json").read_text())["edges"]) == 479


def test_default_names_are_new(acdc, tmp_path):
    words = ("discover", "--task", "induction", "--method", "random", "--edges", "9", "--limit", "4")
    first, second = (acdc(*words, "--verify", "none", "--json").json for _ in range(2))
    assert first["run"].endswith("induction-trio-random-001") and second["run"].endswith("-002")
    listed = acdc("list", "runs", "--json").json
    assert [row["status"] for row in listed] == ["complete", "complete"]


def test_the_same_run_is_resumed_another_refused(acdc, run, tmp_path):
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    again = acdc(*QUICK, "--out", "r")
    assert again.code == 0 and "already there" in again.out
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before
    other = acdc(*QUICK, "--seed", "1", "--out", "r")
    assert other.code == 2 and "seed: 0 there, 1 here" in other.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


@pytest.mark.parametrize("lost", ["verification.json", "circuit.json", "decisions.jsonl", "examples.json"])
def test_an_interrupted_run_is_finished(acdc, run, tmp_path, lost):
    """What the lost stage wrote comes back byte for byte."""
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.name != "run.json"}
    (tmp_path / "r" / lost).unlink()
    record = json.loads((tmp_path / "r/run.json").read_text())
    (tmp_path / "r/run.json").write_text(json.dumps({**record, "status": "running"}))
    assert acdc(*QUICK, "--out", "r").code == 0
    after = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.name != "run.json"}
    assert after == before
    assert json.loads((tmp_path / "r/run.json").read_text())["status"] == "complete"


def test_equal_inputs_give_equal_bytes(tmp_path):
    """Two processes with different hash seeds, in folders of different names."""
    command = [sys.executable, "-m", "acdc", *QUICK, "--out"]
    for number in ("1", "2"):
        folder = tmp_path / f"place{number}"
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": number}
        subprocess.run([*command, f"run{number}"], cwd=folder, env=environment, check=True, capture_output=True)
    for name in ("circuit.json", "decisions.jsonl", "verification.json", "circuit.dot", "circuit.svg", *PAGE):
        first, second = ((tmp_path / f"place{n}/run{n}/{name}").read_bytes() for n in (1, 2))
        assert first == second, name


def test_artefacts_hold_no_path_and_no_time(acdc, tmp_path):
    assert acdc(*QUICK, "--out", "r").code == 0
    for name in ("circuit.json", "decisions.jsonl", "verification.json", *PAGE):
        text = (tmp_path / "r" / name).read_text()
        assert str(tmp_path) not in text
        assert not re.search(r"20\d\d-\d\d-\d\d|/home/|/tmp/", text)


def test_a_report_is_one_file_without_network(acdc, run, tmp_path):
    page = (tmp_path / "r/report.html").read_text()
    assert "<svg" in page and "faithfulness" in page and "acdc discover" in page
    assert not re.search(r"src=|href=(?!\"#)|url\((?!#)|@import", page)


@pytest.mark.thorough
def test_a_report_is_made_again_from_the_folder_alone(acdc, tmp_path):
    from acdc.runs.page import report_of_run

    words = ("discover", "--task", "induction", "--limit", "120", "--method", "eap", "--edges", "9", "--out", "r")
    assert acdc(*words).code == 0
    page = (tmp_path / "r/report.html").read_text()
    assert "acdc verify RUN" in page
    assert report_of_run(tmp_path / "r") == page
    assert acdc("verify", "r").code == 0
    verified = (tmp_path / "r/report.html").read_text()
    assert verified != page and report_of_run(tmp_path / "r") == verified
    assert "95% bootstrap interval" in verified and "corrected together (Holm)" in verified
    (tmp_path / "r/examples.json").unlink()  # a run of before there were any
    assert "<h2>Examples</h2>" not in report_of_run(tmp_path / "r")
    assert acdc("minimise", "r", "--out", "m").code == 0
    assert report_of_run(tmp_path / "m") == (tmp_path / "m/report.html").read_text()


def test_examples_of_another_circuit_are_refused(acdc, run, tmp_path):
    path = tmp_path / "r/examples.json"
    path.write_text(path.read_text().replace('"metric": "logit_diff"', '"metric": "kl"'))
    without_digests(tmp_path / "r")
    again = acdc(*QUICK, "--out", "r")
    assert again.code == 2 and "examples.json belongs to another circuit" in again.err


@pytest.mark.slow
def test_verify_again_gives_the_same(acdc, run, tmp_path):
    path = tmp_path / "r/verification.json"
    standard = json.loads(path.read_text())
    path.unlink()
    assert acdc("verify", "r").code == 0
    full = path.read_bytes()
    assert json.loads(full) | {"full_verification": None, "extent": "standard"} == standard
    path.write_bytes(full[:-9])
    assert acdc("verify", "r").code == 0
    assert path.read_bytes() == full


def test_no_rows_left_is_a_warning(acdc, tmp_path):
    done = acdc("discover", "--task", "induction", "--limit", "128", "--method", "eap", "--edges", "9", "--out", "r")
    assert done.code == 0 and "warning: no rows are left" in done.err
    record = json.loads((tmp_path / "r/verification.json").read_text())
    assert record["rows"] == 0 and record["reason"]


def test_a_first_write_that_was_cut_off_blocks_no_run(acdc, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/.run.json.x1y2z3_4.part").write_text("{")
    assert acdc(*QUICK, "--out", "r").code == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES | {"decisions.jsonl"}


def test_somebody_elses_hidden_file_is_not_taken_for_a_cut_off_write(acdc, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/.film.part").write_text("mine")
    assert "is not empty" in acdc(*QUICK, "--out", "r").err
    assert (tmp_path / "r/.film.part").read_text() == "mine"
