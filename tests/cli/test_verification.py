"""The commands that look closer at circuits, as a user runs them."""

import json
import shutil

import pytest
from conftest import command_in

from acdc.artefacts.circuit import Circuit
from acdc.runs.ranking import rank_edges

FOUND = ("discover", "--task", "induction", "--method", "eap", "--limit", "64")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    command_in(folder, *FOUND, "--edges", 40, "--out", "found")
    return folder / "found"


@pytest.fixture
def run(acdc, made, tmp_path):
    """A run in the folder `found`, which a test may change."""
    return shutil.copytree(made, tmp_path / "found")


def test_verify_minimise_and_diff(acdc, run, tmp_path):
    told = acdc("verify", "found", "--stability", 6, "--all")
    assert told.code == 0, told.err
    for words in (
        "recovers",
        "completeness",
        "minimality",
        "sufficiency",
        "for the circuit",
        "generalisation",
        "stability: 6",
        "CMD",
    ):
        assert words in told.out, words
    report = json.loads((run / "verification.json").read_text())
    assert report["rows"] == 64 and len(report["full_verification"]["tests"]) == 6
    assert report["stability"]["rows_each"] == 16
    again = acdc("verify", "found", "--json").json["verification"]
    assert again["full_verification"] == report["full_verification"]
    small = acdc("minimise", "found", "--out", "small", "--json")
    assert small.code == 0, small.err
    circuit, whole = Circuit.load(tmp_path / "small"), Circuit.load(run)
    assert {edge.id for edge in circuit.edges} < {edge.id for edge in whole.edges}
    assert circuit.method.selection["minimised_from"] == len(whole.edges)
    assert acdc("minimise", "found", "--out", "small", "--json").json["edges"] == len(circuit.edges)
    assert json.loads((tmp_path / "small/run.json").read_text())["kind"] == "minimise"
    found = acdc("diff", "found", "small", "--json").json
    assert found["edges"]["second"] == 0 and found["edges"]["both"] == circuit.edges_effective
    assert found["correlation"] == pytest.approx(1.0)
    assert found["faithfulness"]["union"] == found["faithfulness"]["first"]
    assert "in both" in acdc("diff", "found", "small").out


def test_what_is_measured_anew_is_printed(acdc, run):
    """Not what an earlier verification measured on other rows."""
    assert acdc("verify", "found", "--verify", "quick", "--verify-rows", 8).code == 0
    standard = acdc("verify", "found", "--verify", "standard").out
    assert "verification on 64 unseen rows" in standard and "on 8 of" not in standard
    assert "20 random circuits" in standard
    shown = acdc("show", "found").out
    assert standard.partition("\n\nrun ")[0] == shown.partition("\n\nrun ")[0]


def test_what_a_full_verification_measures_on_fewer_rows_is_said(acdc, run, monkeypatch):
    monkeypatch.setattr("acdc.verification.full_verification.EXTRA_FLOPS", 0.0)
    told = acdc("verify", "found", "--all")
    assert told.code == 0, told.err
    parts = (
        "faithfulness under other ablations (8), completeness (8), minimality (8), random circuits (8), CMD and CPR (8)"
    )
    assert f"measured on fewer rows to stay within the budget: {parts}" in told.out
    assert "not measured: faithfulness under optimal ablation: learning its constants exceeds the budget" in told.out
    assert f"Measured on fewer rows to stay within the budget: {parts}." in (run / "report.html").read_text()


@pytest.mark.parametrize("rows", [0, -1])
def test_verifying_on_no_rows_is_refused(acdc, run, rows):
    refused = acdc("verify", "found", "--verify-rows", rows)
    assert refused.code == 2 and refused.err == f"acdc: error: --verify-rows {rows} must be at least 1\n"


def test_titles_of_narrow_tables_stay_on_one_line(acdc, run):
    assert acdc(*FOUND, "--edges", 40, "--verify", "none", "--out", "bare").code == 0
    assert "\nstrongest 10 of 40 edges\n" in acdc("show", "bare").out


def test_the_help_names_the_tables_of_a_job_file(acdc):
    assert "[defaults] and [[jobs]]" in " ".join(acdc("run", "--help").out.replace("│", "").split())


@pytest.mark.thorough
def test_circuits_of_different_models_are_compared_by_roles(acdc, run, tmp_path):
    """The bundled model against the trained induction model, whose roles are known."""
    from acdc.benchmark.trained import FOLDERS
    from acdc.benchmark.trained_cases import TrainedCase

    TrainedCase("induction").prepare(tmp_path / "prepared", "cpu", None)
    words = ("--model", FOLDERS["induction"], "--task", tmp_path / "prepared/task.jsonl", "--metric", "kl")
    assert acdc("discover", *words, "--limit", 24, "--out", "known").code == 0
    refused = acdc("diff", "found", "known")
    assert refused.code == 2 and "acdc verify" in refused.err
    (tmp_path / "known/verification.json").unlink()
    assert acdc("diff", "found", "known").err.endswith(refused.err), "an unverified run lacks the same"
    assert acdc("verify", "found").code == acdc("verify", "known").code == 0
    found = acdc("diff", "found", "known", "--json").json
    assert found["components"]["attends to: previous token"][1] == ["a0.h0"]
    assert found["components"]["attends to: induction"][1] == ["a1.h0"]
    assert "roles in both" in acdc("diff", "found", "known").out


@pytest.mark.thorough
def test_stability_over_seeds_and_templates(acdc, induction, tmp_path):
    """Rows of two templates, discovered by acdc: what each repetition shares with the circuit, against runs made one by
    one."""
    lines = [
        json.dumps(
            {
                "clean": list(row.clean),
                "corrupted": list(row.corrupted),
                "correct": list(row.correct),
                "incorrect": list(row.incorrect),
                "group": "even" if i % 2 == 0 else "odd",
            }
        )
        for i, row in enumerate(induction.rows[:32])
    ]
    (tmp_path / "two.jsonl").write_text("\n".join(lines) + "\n")
    words = ("discover", "--task", "two.jsonl", "--metric", "logit_diff", "--threshold", 2.0)
    assert acdc(*words, "--out", "found").code == 0
    told = acdc("verify", "found", "--stability", 6, "--all")
    assert told.code == 0 and "about" in told.err and "3 times with other seeds" in told.err, told.err
    stability = json.loads((tmp_path / "found/verification.json").read_text())["stability"]
    assert {repeat["name"] for repeat in stability["templates"]["each"]} == {"even", "odd"}
    assert "other seeds" in told.out and "other templates" in told.out
    own = {edge.id for edge in Circuit.load(tmp_path / "found").effective}
    for repeat in stability["seeds"]["each"]:
        seed = repeat["name"].removeprefix("seed ")
        assert acdc(*words, "--seed", seed, "--out", f"seed-{seed}").code == 0
        other = {edge.id for edge in Circuit.load(tmp_path / f"seed-{seed}").effective}
        assert repeat["edges"] == len(other)
        assert repeat["jaccard"] == pytest.approx(len(own & other) / len(own | other))


@pytest.mark.thorough
def test_sizes_of_what_acdc_decided(acdc, tmp_path):
    """The circuit comes first in the ranking, the rest by its tests; faithfulness against circuits made by hand."""
    assert acdc("discover", "--task", "induction", "--threshold", 0.5, "--out", "found").code == 0
    told = acdc("verify", "found", "--all")
    assert "chosen by the change that ACDC measured when it tested each edge" in told.out
    circuit = Circuit.load(tmp_path / "found")
    ranking = rank_edges(tmp_path / "found", circuit)
    order = [circuit.graph.names[i] for i in (-ranking.values).argsort(kind="stable")]
    assert set(order[: len(circuit.edges)]) == {edge.id for edge in circuit.edges}
    tests = [json.loads(line) for line in (tmp_path / "found/decisions.jsonl").read_text().splitlines()]
    rise = {test["edge"]: test["after"] - test["before"] for test in tests if not test["kept"]}
    left = [name for name in order[len(circuit.edges) :] if name in rise]
    assert left == sorted(left, key=lambda name: -rise[name])
    assert not set(order[len(circuit.edges) + len(left) :]) & set(rise) and len(left) == len(rise)
    (tmp_path / "found/decisions.jsonl").write_text('{"edge": "input->m0", "before": 1}\n')
    refused = acdc("verify", "found")
    assert refused.code == 2 and "line 1 is damaged" in refused.err
    (tmp_path / "found/decisions.jsonl").write_bytes(b"\xff\n")
    refused = acdc("verify", "found")
    assert refused.code == 2 and "decisions.jsonl cannot be read" in refused.err


@pytest.mark.slow
def test_workers_find_the_same(acdc, run):
    pytest.importorskip("ray")
    assert acdc("verify", "found").code == 0
    alone = (run / "verification.json").read_bytes()
    assert acdc("verify", "found", "--workers", 2).code == 0
    assert (run / "verification.json").read_bytes() == alone


def test_what_cannot_be_compared(acdc, run):
    assert acdc("discover", "--method", "random", "--edges", 9, "--out", "other").code == 0
    outcome = acdc("diff", "found", "other")
    assert outcome.code == 2 and "other rows" in outcome.err
    assert acdc("minimise", "nowhere").code == 2
    assert acdc("verify", "found", "--stability", 1).code == 2
    nodes = ("--level", "nodes", "--edges", 60, "--out", "nodes")
    assert acdc(*FOUND, *nodes).code == 0
    outcome = acdc("minimise", "nodes")
    assert outcome.code == 2 and "circuits of edges" in outcome.err
