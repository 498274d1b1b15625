"""Circuits at positions in files of other tools: what is written is read as it was, and damage is one sentence."""

import csv
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from acdc.artefacts.circuit import Circuit

FORMATS = ("csv", "parquet", "networkx", "graphml")
TASK = ("--task", "ioi", "--limit", "4")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A circuit of eap, which has scores of all edges, and one of acdc, which has none."""
    from acdc.options import Extent, Level
    from acdc.progress import silent
    from acdc.runs.discovery import run_discovery
    from acdc.runs.spec import DiscoveryJob
    from acdc.search.registry import METHODS
    from acdc.search.settings import DiscoverySettings

    folder = tmp_path_factory.mktemp("made")
    for name, method, size in (("e", "eap", {"edges": 40}), ("a", "acdc", {"threshold": 1.0})):
        settings = DiscoverySettings(method=METHODS[method], limit=4, level=Level.positions, **size)
        run_discovery(DiscoveryJob("trio", "ioi", settings, verify=Extent.quick), folder / name, silent)
    return folder


@pytest.fixture
def runs(acdc, made) -> None:
    for name in "ea":
        shutil.copytree(made / name, name)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("run", ["e", "a"])
def test_there_and_back(acdc, runs, run, format):
    """The same edges, scores and spans; with all candidates' scores where the format holds them."""
    assert acdc("export", run, "--format", format, "--out", "x").code == 0
    done = acdc("import", "x", "--format", format, *TASK, "--verify", "none", "--out", "i")
    assert done.code == 0, done.err
    before, after = Circuit.load(run), Circuit.load("i")
    assert 0 < before.size == after.size and before.level == after.level == "positions"
    for field in ("positions", "edges", "spans", "edges_effective", "task"):
        assert getattr(after, field) == getattr(before, field)
    assert after.score_kind == (before.score_kind if format in ("networkx", "graphml") else "importance")
    everything = run == "e" and format in ("csv", "parquet")
    assert Path("i/scores.json").exists() == everything
    if everything:
        assert json.loads(Path("i/scores.json").read_text()) == json.loads(Path("e/scores.json").read_text())
    outside = f"scores of the {8481 - before.size} positional edges outside the circuit"
    lost = [outside] if run == "e" and not everything else []
    assert after.method.imported.lost == lost


def test_an_imported_circuit_is_one_as_any_other(acdc, runs):
    acdc("export", "e", "--format", "csv", "--out", "x")
    assert acdc("import", "x", "--format", "csv", *TASK, "--verify", "quick", "--out", "i").code == 0
    page = Path("i/report.html").read_text()
    assert ">By position<" in page and "@S1" in Path("i/circuit.svg").read_text() + page
    measured = [json.loads(Path(run, "verification.json").read_text())["measures"] for run in "ei"]
    assert measured[0] == measured[1]
    shared = acdc("diff", "e", "i", "--json").json["edges"]
    assert shared["both"] == Circuit.load("e").size and shared["jaccard"] == 1
    chosen = ("--edges", "25", "--verify", "none")
    assert acdc("import", "x", "--format", "csv", *TASK, *chosen, "--out", "few").code == 0
    words = ("--method", "eap", "--level", "positions", *TASK, *chosen)
    assert acdc("discover", *words, "--out", "discovered").code == 0
    assert Circuit.load("few").positions == Circuit.load("discovered").positions


def test_a_circuit_by_hand_and_what_dangles(acdc, tmp_path):
    (tmp_path / "x.csv").write_text("input@S1->a0.h0<v>@end\na0.h0@end->logits@end\na1.h0@end->logits@end\n")
    done = acdc("import", "x.csv", "--format", "csv", *TASK, "--verify", "none", "--out", "i")
    assert done.code == 0 and "1 positional edge on no path from the input to the logits" in done.err
    circuit = Circuit.load(tmp_path / "i")
    assert [edge.id for edge in circuit.positions] == ["input@S1->a0.h0<v>@end", "a0.h0@end->logits@end"]
    assert "1 positional edge on no path" in circuit.method.imported.lost[0]


def test_an_empty_circuit_comes_back(acdc, tmp_path):
    words = ("--level", "positions", *TASK, "--verify", "none")
    assert acdc("discover", *words, "--threshold", "1000", "--out", "e").code == 0
    assert acdc("export", "e", "--format", "networkx", "--out", "x").code == 0
    assert acdc("import", "x", "--format", "networkx", *TASK, "--verify", "none", "--out", "i").code == 0
    assert Circuit.load("i").level == "positions" and Circuit.load("i").size == 0


def in_csv(change):
    rows = list(csv.reader(Path("x").read_text().splitlines()))
    change(rows)
    with Path("x").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def renamed(old, new):
    def change(rows):
        rows[3][0] = rows[3][0].replace(old, new)

    return change


DAMAGES = [
    (renamed("@S1", "@S9"), "x, line 4: ", "'S9' is none of its spans, which are rest, S1, IO,"),
    (renamed("->", "-"), "x, line 4: ", "says no span, as writer@span->slot@span does"),
    (renamed("@S1->", "->"), "x, line 4: ", "says no span"),
    (renamed("input", "a7.h0"), "x, line 4: ", "the model has no edge 'a7.h0->"),
    (renamed("input@S1->a0.h0<q>@S1", "input@end->a0.h0<k>@IO"), "x, line 4: ", "attention sees none there"),
    (renamed("input@S1->a0.h0<q>@S1", "input@end->a0.h0<q>@IO"), "x, line 4: ", "it stays inside one span"),
    (renamed("input@S1->a0.h0<q>@S1", "input@IO->logits@IO"), "x, line 4: ", "no answer is read there"),
    (lambda rows: rows.append(rows[3]), "x, line 5: ", "occurs twice"),
    (lambda rows: rows[3].__setitem__(1, "much"), "x, line 4: ", "score 'much' is not a number"),
]


@pytest.mark.parametrize(("change", "place", "told"), DAMAGES)
def test_damage_is_one_sentence_with_file_and_row(acdc, tmp_path, change, place, told):
    (tmp_path / "x").write_text("edge,score,kept\n" + "".join(f"{name},1,yes\n" for name in HAND))
    in_csv(change)
    done = acdc("import", "x", "--format", "csv", *TASK, "--out", "i")
    assert done.code == 2 and done.err.startswith(f"acdc: error: {place}") and told in done.err, done.err
    assert done.err.count("\n") == 1 and not Path("i").exists()


HAND = ("input@IO->a0.h0<q>@IO", "input@IO->m0@IO", "input@S1->a0.h0<q>@S1")


def test_damaged_graphs(acdc, runs):
    def again(record):
        record["edges"].append(dict(record["edges"][1]))

    def elsewhere(record):
        record["edges"][1]["target"] = "m0@S9"
        record["nodes"].append({"id": "m0@S9"})

    def other_spans(record):
        mark = json.loads(record["graph"]["acdc"])
        record["graph"]["acdc"] = json.dumps(mark | {"spans": ["0", "1"]})

    def within_heads(record):
        record["graph"]["acdc"] = json.dumps(json.loads(record["graph"]["acdc"]) | {"direct_edges": True})

    for change, told in (
        (again, "occurs twice"),
        (elsewhere, "x, edge 2: "),
        (within_heads, "--direct-edges works only with --level edges"),
        (other_spans, "x: its edges are at the spans '0', '1', but task 'ioi' has 'rest', 'S1'"),
    ):
        acdc("export", "a", "--format", "networkx", "--out", "x")
        record = json.loads(Path("x").read_text())
        change(record)
        Path("x").write_text(json.dumps(record))
        done = acdc("import", "x", "--format", "networkx", *TASK, "--out", "i")
        assert done.code == 2 and told in done.err and done.err.count("\n") == 1, done.err
    acdc("export", "a", "--format", "graphml", "--out", "x")
    tree = ElementTree.parse("x")
    graph = tree.find("{*}graph")
    graph.append(graph.find("{*}edge"))
    tree.write("x")
    done = acdc("import", "x", "--format", "graphml", *TASK, "--out", "i")
    assert done.code == 2 and "occurs twice" in done.err and "x, edge " in done.err
    Path("x").write_bytes(b"PAR1 none")
    done = acdc("import", "x", "--format", "parquet", *TASK, "--out", "i")
    assert done.code == 2 and "x cannot be read as Parquet" in done.err and done.err.count("\n") == 1
    assert not Path("i").exists()


def test_positions_that_prompts_lack(acdc, tmp_path):
    rows = [{"clean": [1, 2, 3], "corrupted": [1, 4, 3], "correct": [5], "incorrect": [6]} for _ in range(4)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "x").write_text("input@1->a0.h0<v>@7\n")
    done = acdc("import", "x", "--format", "csv", "--task", "t.jsonl", "--limit", "2", "--out", "i")
    assert done.code == 2 and "x, line 1: " in done.err and "prompts have the positions 0 to 2, not '7'" in done.err
