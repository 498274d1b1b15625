"""The command line as a user meets it."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

EAP = ("discover", "--limit", "8", "--method", "eap", "--json", "--verify", "none")


def test_help_is_quick_and_imports_no_torch():
    code = (
        "import sys; sys.argv = ['acdc', '--help']\n"
        "from acdc.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformer_lens', 'networkx', 'numpy', 'ray', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "discover" in done.stdout


def test_discover_without_options(acdc, tmp_path):
    """The main job: the bundled model and task, with work that takes seconds (each row run is some 50 microseconds)."""
    done = acdc("discover")
    assert done.code == 0 and done.err == ""
    assert "ioi in trio" in done.out and "64 unseen rows" in done.out
    record = json.loads((tmp_path / "runs/ioi-trio-acdc-001/run.json").read_text())
    assert record["status"] == "complete" and 0 < record["evaluations"] < record["flops"]


def test_json_is_machine_readable(acdc):
    record = acdc("discover", "--task", "induction", "--limit", "8", "--method", "eap", "--edges", "20", "--json").json
    assert record["edges"] <= 20 and record["verification"]["rows"] == 120
    assert record["faithfulness"] == record["verification"]["measures"]["logit_diff"]["faithfulness"]
    shown = acdc("show", record["run"], "--json").json
    assert shown == record


@pytest.mark.parametrize("format", ["svg", "dot"])
def test_export(acdc, tmp_path, format):
    acdc(*EAP, "--task", "induction", "--edges", "20", "--out", "r")
    assert acdc("export", "r", "--format", format, "--out", f"x.{format}").code == 0
    assert (tmp_path / f"x.{format}").read_bytes() == (tmp_path / f"r/circuit.{format}").read_bytes()
    if format == "svg":
        ElementTree.parse(tmp_path / "x.svg")


def test_score_covers_every_edge_and_all_rows(acdc, tmp_path):
    record = acdc("score", "--task", "induction", "--method", "eap", "--out", "s", "--json").json
    assert len(record["edges"]) == 479 and len(record["task"]["rows"]) == 128
    assert record["score_kind"] == "effect" and record["metric_full"] > record["metric_empty"]
    assert (tmp_path / "s/scores.json").is_file()
    limited = acdc("score", "--task", "induction", "--limit", "8", "--out", "t", "--json").json
    assert len(limited["task"]["rows"]) == 8


def test_splitting_embeddings(acdc):
    record = acdc(*EAP, "--task", "induction", "--edges", "30", "--split-embeddings").json
    assert record["edges_total"] == 479 + 4 * 12 + 4 + 1


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-positional"])
def test_ablations(acdc, ablation):
    record = acdc(*EAP, "--task", "greater_than", "--edges", "40", "--ablation", ablation).json
    assert record["ablation"] == ablation and record["edges_effective"] > 0


@pytest.mark.parametrize("what", ["models", "tasks", "methods", "runs"])
def test_listings(acdc, what):
    assert acdc("list", what).code == 0
    rows = acdc("list", what, "--json").json
    assert bool(rows) == (what != "runs")


def test_check_task(acdc):
    record = acdc("check-task", "induction", "--json").json
    assert record["rows"] == 128 and record["measures"]["accuracy"]["clean"] == 1
    assert record["warnings"] == []
    assert "mean over all rows" in acdc("check-task", "induction").out


def test_nothing_is_drawn_on_a_pipe():
    """Bars belong to a terminal: a pipe gets results alone, and lines about what takes long on the other one."""
    command = [sys.executable, "-m", "acdc", "score", "--task", "induction", "--limit", "4", "--json"]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and all(line.startswith("acdc: ") for line in done.stderr.splitlines())
    assert done.stdout.count("\n") == 1 and "\x1b" not in done.stdout + done.stderr


def test_the_printed_command_runs_again(acdc, tmp_path, monkeypatch):
    """From where the user ran it, with a model and a task in folders, and gives the same circuit."""
    from acdc.benchmark.trained import FOLDERS

    shutil.copytree(FOLDERS["induction"], tmp_path / "models/of mine")
    (tmp_path / "data").mkdir()
    rows = [{"clean": [0, i, 3, 2, i], "corrupted": [0, 2, 3, 2, 2]} for i in (1, 3)] * 2
    lines = (json.dumps(row | {"id": str(number)}) for number, row in enumerate(rows))
    (tmp_path / "data/rows.jsonl").write_text("\n".join(lines))
    words = ("--model", "models/of mine", "--task", "data/rows.jsonl", "--limit", 2)
    assert acdc("discover", *words, "--threshold", 0.01, "--out", "first").code == 0
    command = shlex.split(json.loads((tmp_path / "first/run.json").read_text())["command"])
    assert command[:6] == ["acdc", "discover", "--model", "models/of mine", "--task", "data/rows.jsonl"]
    assert acdc(*command[1:], "--out", "again").code == 0
    assert (tmp_path / "again/circuit.json").read_bytes() == (tmp_path / "first/circuit.json").read_bytes()
    page = (tmp_path / "first/report.html").read_text()
    assert "--model &#x27;models/of mine&#x27; --task data/rows.jsonl" in page.replace("&#39;", "&#x27;")


def test_errors_of_job_files_name_the_file(acdc, tmp_path):
    """While they are read, and while their jobs are planned."""
    (tmp_path / "many.toml").write_text('[[jobs]]\ntask = "nosuch"\n[[jobs]]\nmethod = "eap"\nedges = 100000\n')
    refused = acdc("run", "many.toml")
    problems = refused.err.strip().splitlines()
    assert refused.code == 2 and len(problems) == 2
    assert problems[0].startswith("acdc: error: many.toml: job 1: task 'nosuch' is neither")
    assert problems[1] == "acdc: error: many.toml: job 2: --edges 100000 is more than the graph's 479 edges"


def test_what_cannot_be_listed_is_said_without_the_parsers_words(acdc):
    refused = acdc("list", "nosuch")
    assert refused.code == 2 and "Value error" not in refused.err
    assert "'nosuch' is not one of 'models', 'tasks'" in refused.err


@pytest.mark.parametrize("rich", ["0", "1"])
def test_brackets_in_help_are_no_markup(rich):
    """With and without Rich, which reads brackets as markup."""
    done = subprocess.run(
        [sys.executable, "-m", "acdc", "run", "--help"],
        env={**os.environ, "TYPER_USE_RICH": rich, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "TOML file: [defaults] and [[jobs]] with the options of discover." in " ".join(done.stdout.split())


def test_an_unknown_word_is_named_alone(acdc, tmp_path):
    prompt = "When Mary and John went to the store, John gave a xylophone to"
    row = {"clean": prompt, "corrupted": prompt, "correct": [" Mary"], "incorrect": [" John"]}
    (tmp_path / "unknown.jsonl").write_text(json.dumps(row))
    refused = acdc("check-task", "unknown.jsonl")
    assert refused.code == 2 and refused.err.endswith("tokenizer does not know: 'xylophone'\n")


def test_an_architecture_is_not_supported_at_any_level(acdc, tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    refused = acdc("discover", "--model", "odd", "--task", "ioi")
    assert refused.code == 2 and "architecture 'BertForMaskedLM' is not supported; supported:" in refused.err
