"""The command as a user runs it: tables, files, resumption, cases that cannot be had, methods of one's own."""

import json

import pytest

from acdc.benchmark.published import PUBLISHED

CASES, METHODS = "and-gate|or-gate|fraction", "acdc,acdc-complete,eap,random"
KEYS = {"suite", "case", "method", "ablation", "redundant", "edges_true", "edges_found", "edge_precision"}
KEYS |= {"edge_recall", "edge_f1", "edge_auroc", "node_f1", "cmd", "work", "seconds"}


def rows_of(outcome):
    assert outcome.code == 0, outcome.err
    rows = outcome.json["rows"]
    return {(row["case"], row["ablation"], row["method"]): row for row in rows}


def untimed(rows):
    return {key: {name: value for name, value in row.items() if name != "seconds"} for key, row in rows.items()}


def test_methods_are_scored_on_compiled_programs(acdc, tmp_path):
    rows = rows_of(acdc("benchmark", "--cases", CASES, "--methods", METHODS, "--json"))
    assert len(rows) == 3 * 3 * 4 and all(row.keys() >= KEYS for row in rows.values())
    assert rows["and-gate", "resample", "acdc"]["edge_f1"] == 1.0
    assert rows["or-gate", "resample", "acdc"]["edge_recall"] == pytest.approx(3 / 5)
    assert rows["or-gate", "resample", "acdc-complete"]["edge_f1"] == 1.0
    assert rows["or-gate", "resample", "acdc"]["redundant"] and not rows["or-gate", "zero", "acdc"]["redundant"]
    assert rows["or-gate", "resample", "random"]["edge_f1"] < 1.0
    folder = tmp_path / "runs/benchmark-compiled"
    assert json.loads((folder / "benchmark.json").read_text())["rows"] == list(rows.values())
    assert "acdc-complete" in (folder / "benchmark.md").read_text()
    states = acdc("status", folder, "--json").json["jobs"]
    assert {state["status"] for state in states} == {"done"} and not any(state["damaged"] for state in states)
    assert "area 1.000" in (folder / "roc-compiled-resample-redundant.svg").read_text()
    picture = (folder / "compiled-or-gate/resample-acdc.svg").read_text()
    assert "3 of 5 true edges found, 0 false" in picture and "a0.h1" in picture


def test_only_what_is_missing_is_run(acdc, tmp_path):
    first = acdc("benchmark", "--cases", "and-gate", "--methods", "acdc")
    files = sorted((tmp_path / "runs/benchmark-compiled/compiled-and-gate").glob("*-acdc.json"))
    before = [path.stat().st_mtime_ns for path in files]
    again = acdc("benchmark", "--cases", "and-gate", "--methods", "acdc")
    more = acdc("benchmark", "--cases", "and-gate", "--methods", "acdc,exact")
    assert first.code == again.code == more.code == 0
    assert "1 of 1 job was finished before" in again.err
    assert [path.stat().st_mtime_ns for path in files] == before and len(files) == 3
    assert "exact" in more.out and "exact" not in again.out
    whole = files[0].read_text()
    files[0].write_text(whole[:100])
    assert acdc("benchmark", "--cases", "and-gate", "--methods", "acdc").code == 0
    assert files[0].read_text()[:100] == whole[:100] and files[0].stat().st_mtime_ns != before[0]


def test_settings_go_to_methods_that_read_them(acdc):
    words = ("benchmark", "--cases", "and-gate", "--methods", "acdc,eap-ig-inputs,random", "--steps", 3, "--json")
    rows = rows_of(acdc(*words))
    assert {row["status"] for row in rows.values()} == {"done"}


def test_other_settings_are_other_results(acdc):
    words = ("benchmark", "--cases", "and-gate", "--methods", "random", "--json")
    one, other = rows_of(acdc(*words)), rows_of(acdc(*words, "--seed", 1))
    assert untimed(one) != untimed(other)
    assert untimed(rows_of(acdc(*words))) == untimed(one)


def test_what_cannot_be_had_is_told(acdc, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    outcome = acdc("benchmark", "--suite", "published", "--methods", "acdc")
    assert outcome.code == 0 and outcome.out.count("weights not available") == len(PUBLISHED)
    rows = rows_of(acdc("benchmark", "--suite", "published", "--methods", "acdc", "--json"))
    assert len(rows) == len(PUBLISHED) and all(row["edge_f1"] is None for row in rows.values())
    told = acdc("benchmark", "--suite", "stories", "--methods", "acdc")
    assert "give --data" in told.out


def test_a_real_model_has_faithfulness_and_no_truth(acdc, shared):
    words = ("--suite", "stories", "--data", shared, "--cases", ".*they", "--methods", "eap", "--json")
    (row,) = rows_of(acdc("benchmark", *words)).values()
    assert row["edges_true"] is None and row["edge_f1"] is None
    assert 0 < row["cmd"] < 1 and row["edges_found"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "nothing"], "compiled, random"),
        (["--methods", "acdc,nothing"], "nothing"),
        (["--cases", "nothing"], "no case"),
        (["--cases", "("], "regular expression"),
        (["--steps", "1"], "--steps"),
        (["--option", "force=2"], "no method takes an option 'force'"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_bad_input(acdc, words, said):
    outcome = acdc("benchmark", *words)
    assert outcome.code == 2 and said in outcome.err and outcome.err.count("\n") == 1
