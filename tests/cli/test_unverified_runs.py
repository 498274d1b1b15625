"""A run whose verification is absent or not whole is a run: shown, exported, compared, and verified further."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import thorough_but

OPTIONS = ("--task", "induction", "--method", "eap", "--edges", "12", "--limit", "24")
KILLED = """
import os, signal
from acdc.cli.job_options import discovery_job
from acdc.runs.discovery import run_discovery
from acdc.progress import silent
from pathlib import Path

left = {place}

def watch(run):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1

job = discovery_job(task="induction", method="eap", edges=12, limit=24)
run_discovery(job, Path("r"), silent, watch=watch)
"""


def artefacts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "run.json"}


def test_a_run_without_a_verification_is_a_run(acdc, tmp_path):
    done = acdc("discover", *OPTIONS, "--verify", "none", "--out", "r")
    assert done.code == 0 and "Not verified: no verification has been run yet; 'acdc verify RUN' runs one." in done.out
    assert not Path("r/verification.json").exists() and "warning" not in done.err
    assert json.loads(Path("r/run.json").read_text())["status"] == "complete"
    assert "Not verified" in Path("r/report.html").read_text()
    assert "Not verified" in acdc("show", "r").out
    assert acdc("show", "r", "--json").json["faithfulness"] is None
    for format in ("svg", "html", "graphml", "eap-ig"):
        done = acdc("export", "r", "--format", format, "--out", f"x.{format}")
        assert done.code == 0 and "the verification of run r is missing: 'acdc verify' finishes it" in done.err
    (listed,) = acdc("list", "runs", "--out", ".", "--json").json
    assert listed["status"] == "complete" and listed["edges"] == "12 of 479" and listed["faithfulness"] == "-"
    assert acdc("discover", *OPTIONS, "--verify", "none", "--out", "other").code == 0
    done = acdc("diff", "r", "other")
    assert done.code == 0 and "verification of run other is missing" in done.err


def test_a_verification_is_raised_step_by_step(acdc):
    assert acdc("discover", *OPTIONS, "--verify", "none", "--out", "r").code == 0
    quick = acdc("verify", "r", "--verify", "quick")
    assert quick.code == 0 and "have not been removed one by one" in quick.out and "random circuits" not in quick.out
    standard = acdc("discover", *OPTIONS, "--out", "r")
    said = " ".join(standard.out.split())
    assert "20 random circuits" in said and "of its 12 edges are needed" in said
    assert acdc("discover", *OPTIONS, "--out", "once").code == 0
    assert artefacts(Path("r")) == artefacts(Path("once"))
    again = acdc("verify", "r", "--verify", "quick", "--verify-rows", "8")
    assert "20 random circuits" in again.out, "what is there is not lost"


def test_fewer_rows_are_said(acdc):
    done = acdc("discover", *OPTIONS, "--verify-rows", "10", "--out", "r")
    assert "verification on 10 of 104 unseen rows" in done.out and "On 10 of 104 rows" in done.out
    assert json.loads(Path("r/verification.json").read_text())["sample"]["rows"] == 10
    assert "verification on 104 unseen rows" in acdc("verify", "r", "--verify", "standard").out


@pytest.mark.thorough
def test_what_two_verifications_leave_does_not_depend_on_their_order(acdc):
    """The furthest extent on the most rows; nothing that is there is replaced by a measurement on fewer rows."""
    asked = [("standard",), ("full", "--verify-rows", "8")]
    for name, order in (("one", asked), ("other", asked[::-1])):
        assert acdc("discover", *OPTIONS, "--verify", "none", "--out", name).code == 0
        for how in order:
            assert acdc("verify", name, "--verify", *how).code == 0
    report = json.loads(Path("one/verification.json").read_text())
    assert (report["extent"], report["rows"], report["most_rows"]) == ("full", 104, None)
    assert artefacts(Path("one")) == artefacts(Path("other"))


@pytest.mark.parametrize("repeats", [None, 6])
def test_a_finished_verification_is_never_without_its_page(acdc, monkeypatch, repeats):
    """Whoever copies a run, or kills what verifies it, has the page of what is measured."""
    from acdc.artefacts.verification.report import Report
    from acdc.progress import silent
    from acdc.runs.extras import Extras
    from acdc.runs.finish import Finishing, reverify
    from acdc.runs.page import report_of_run
    from acdc.runs.run_directory import RunDirectory

    assert acdc("discover", *OPTIONS, "--verify", "quick", "--out", "r").code == 0
    seen, write = [], RunDirectory.write

    def writing(run, name, text):
        write(run, name, text)
        if name == "verification.json" and Report.load(run.path).complete:
            seen.append((run.path / "report.html").read_text() == report_of_run(run.path))

    monkeypatch.setattr(RunDirectory, "write", writing)
    reverify(Path("r"), None, None, "cpu", Finishing(silent), Extras(stability=repeats))
    assert seen == [True] * (2 if repeats else 1)


def test_the_first_table_comes_before_a_long_verification(acdc, monkeypatch):
    monkeypatch.setattr("acdc.cli.show_run.SLOW_FLOPS", 0.0)
    lines = acdc("discover", *OPTIONS, "--out", "r").out.splitlines()
    places = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in ("strongest", "verifying")]
    measured = next(i for i, line in enumerate(lines) if line.startswith("verification on"))
    assert places[0] < places[1] < measured
    assert "metrics on 104 unseen rows, 20 random circuits on 104, 12 single removals on 104" in lines[places[1]]


@pytest.mark.parametrize("place", thorough_but([0], range(3)))
def test_a_run_that_was_killed_between_stages_goes_on(acdc, place):
    killed = subprocess.run([sys.executable, "-c", KILLED.format(place=place)], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Path("r/circuit.json").exists() and Path("r/report.html").exists() == (place > 0)
    assert json.loads(Path("r/run.json").read_text())["status"] == "running"
    said = acdc("show", "r").out
    assert "The verification is not finished" in said if place else "Not verified" in said
    assert acdc("discover", *OPTIONS, "--out", "r").code == 0
    assert acdc("discover", *OPTIONS, "--out", "once").code == 0
    assert artefacts(Path("r")) == artefacts(Path("once"))
