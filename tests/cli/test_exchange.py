"""Circuits between acdc and other tools on the command line: what is written is read, verified and compared."""

import json
import re
import shutil
import sys
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from acdc import extensions
from acdc.runs.exchange import FORMATS, Format, Written

TASK = ("--task", "t.jsonl", "--limit", 8)
BOTH_WAYS = [format.name for format in FORMATS.values() if format.read and format.name != "mib"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, induction) -> Path:
    """Runs of acdc (`a`) and of eap (`e`), and scores alone (`s`), of 16 rows."""
    from acdc.progress import silent
    from acdc.runs.discovery import run_discovery, run_scoring
    from acdc.runs.spec import DiscoveryJob
    from acdc.search.registry import METHODS
    from acdc.search.settings import DiscoverySettings

    folder = tmp_path_factory.mktemp("made")
    rows = [asdict(replace(row, spans=None)) for row in induction.rows[:16]]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = str(folder / "t.jsonl")
    run_discovery(DiscoveryJob("trio", task, DiscoverySettings(limit=8)), folder / "a", silent)
    eap = DiscoverySettings(method=METHODS["eap"], limit=8, edges=20)
    run_discovery(DiscoveryJob("trio", task, eap), folder / "e", silent)
    run_scoring(DiscoveryJob("trio", task, DiscoverySettings(method=METHODS["eap"], limit=8)), folder / "s", silent)
    return folder


@pytest.fixture
def runs(acdc, made) -> None:
    for name in "aes":
        shutil.copytree(made / name, name)
    shutil.copy(made / "t.jsonl", "t.jsonl")


def load(path: str) -> dict:
    return json.loads(Path(path).read_text())


@pytest.mark.parametrize("format", BOTH_WAYS)
@pytest.mark.parametrize("run", ["a", "e"])
def test_there_and_back(acdc, runs, run, format):
    """An imported run is one as any other, with the same measures on the same unseen rows."""
    exported = acdc("export", run, "--format", format, "--out", "x.json", "--json").json
    assert exported["files"] == ["x.json"]
    done = acdc("import", "x.json", "--format", format, *TASK, "--out", "i", "--json")
    assert done.code == 0, done.err
    assert done.err.count("lost on import") == len(exported["lost"]) or format in ("edge-pruning", "csv")
    before, after = load(f"{run}/circuit.json"), load("i/circuit.json")
    assert [edge["id"] for edge in after["edges"]] == [edge["id"] for edge in before["edges"]]
    assert load("i/verification.json") == load(f"{run}/verification.json")
    method = after["method"]
    assert method["name"] == "imported" and method["imported"]["format"] == format
    assert len(method["imported"]["content_hash"]) == 64 and "x.json" not in json.dumps(after)
    if (run, format) in (("e", "eap-ig"), ("e", "autocircuit")):
        assert load("i/scores.json") == load("e/scores.json")
    if format == "graphml":
        assert acdc("show", "i").code == acdc("verify", "i", "--json").code == 0
        assert acdc("diff", run, "i", "--json").json["edges"]["jaccard"] == 1
        assert acdc("export", "i", "--format", "svg", "--out", "i.svg").code == 0


def test_the_same_import_is_resumed_and_another_refused(acdc, runs):
    words = ("import", "x.json", "--format", "eap-ig", *TASK, "--out", "i")
    acdc("export", "a", "--format", "eap-ig", "--out", "x.json")
    assert acdc(*words).code == 0
    circuit = Path("i/circuit.json").read_bytes()
    assert "(already there)" in acdc(*words).out and Path("i/circuit.json").read_bytes() == circuit
    acdc("export", "e", "--format", "eap-ig", "--out", "x.json")
    done = acdc(*words)
    assert done.code == 2 and "holds a run of other inputs (file" in done.err
    assert load("i/run.json")["command"].startswith("acdc import x.json --model trio --task t.jsonl")


@pytest.mark.parametrize("options", [("--edges", 12), ("--threshold", 1.0), ("--faithfulness", 0.8)])
def test_a_circuit_is_chosen_from_scores_as_discover_does(acdc, runs, options):
    for format in ("eap-ig", "autocircuit", "graphml"):
        acdc("export", "s", "--format", format, "--out", "x")
        assert acdc("import", "x", "--format", format, *TASK, *options, "--out", format).code == 0
        acdc("discover", "--method", "eap", *TASK, *options, "--out", "d")
        assert load(f"{format}/circuit.json")["edges"] == load("d/circuit.json")["edges"]


def test_a_submission_to_mib(acdc, runs):
    written = acdc("export", "e", "--format", "mib", "--out", "sub", "--json").json
    assert written["files"] == ["sub/t_trio/importances.json"]
    assert acdc("import", "sub/t_trio", "--format", "mib", *TASK, "--out", "i").code == 0
    assert load("i/circuit.json")["edges"] == load("e/circuit.json")["edges"]
    acdc("export", "s", "--format", "mib-circuits", "--out", "many")
    sizes = []
    for file in sorted(Path("many/t_trio").iterdir(), key=lambda file: float(file.stem.split("_")[1])):
        sizes.append(sum(edge["in_graph"] for edge in load(str(file))["edges"].values()))
    assert sizes == [int(479 * percentage / 100) for percentage in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)]
    done = acdc("import", "many/t_trio", "--format", "mib", *TASK)
    assert done.code == 2 and "must hold one .json file, not 9" in done.err


def test_what_a_format_cannot_hold_is_said(acdc, runs):
    done = acdc("export", "e", "--format", "edge-pruning", "--out", "x", "--json")
    assert done.json["lost"] == ["scores of edges"]
    assert done.err == "acdc: warning: lost in format edge-pruning: scores of edges\n"


def test_a_cut_between_heads_that_share_a_slot_is_read_back(acdc, shared, tmp_path):
    """One of two equal scores is the last that a size has room for: MIB takes one head's key, the model has one for
    both."""
    rows = [{"clean": [1, 5 + i, 6], "corrupted": [1, 9 + i, 7], "correct": [9], "incorrect": [10]} for i in range(8)]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("--model", shared / "models/stories260k", "--task", "t.jsonl", "--limit", 4)
    acdc("score", *words, "--method", "eap", "--out", "s")
    acdc("export", "s", "--format", "mib-circuits", "--out", "many")
    for file in sorted(Path("many/t_stories260k").iterdir()):
        kept = [name for name, edge in load(str(file))["edges"].items() if edge["in_graph"]]
        done = acdc("import", file, "--format", "mib", *words, "--out", f"i{file.stem}", "--verify", "none")
        assert done.code == 0, done.err
        edges = {edge["id"] for edge in load(f"i{file.stem}/circuit.json")["edges"]}
        assert {re.sub(r"h(\d)<([kv])>", _shared, name) for name in kept} >= edges and edges


def _shared(slot: re.Match[str]) -> str:
    """The shared slot that two heads of a stories model read."""
    return f"kv{int(slot[1]) // 2}<{slot[2]}>"


def test_stories(acdc, shared, tmp_path):
    """A real model in which two heads share a KV head: 1,701 edges here, 2,461 in a file of EAP-IG."""
    rows = [{"clean": [1, 5 + i, 6], "corrupted": [1, 9 + i, 7], "correct": [9], "incorrect": [10]} for i in range(8)]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("--model", shared / "models/stories260k", "--task", "t.jsonl", "--limit", 4)
    acdc("discover", *words, "--method", "eap", "--edges", 30, "--out", "g")
    for format in ("eap-ig", "autocircuit"):
        acdc("export", "g", "--format", format, "--out", format)
        assert acdc("import", format, "--format", format, *words, "--out", f"i-{format}").code == 0
        assert load(f"i-{format}/scores.json") == load("g/scores.json")
        assert load(f"i-{format}/circuit.json")["edges"] == load("g/circuit.json")["edges"]
    assert len(load("g/scores.json")["edges"]) == 1701 and len(load("eap-ig")["edges"]) == 2461


def test_formats_of_other_packages(acdc, runs, monkeypatch):
    module = type(sys)("other_formats")
    module.count = Format("count", "of edges", lambda run: Written({"": b"%d" % len(run.circuit.edges)}, ("all else",)))
    monkeypatch.setitem(sys.modules, "other_formats", module)
    entry = EntryPoint("count", "other_formats:count", "acdc.formats")
    monkeypatch.setattr(extensions, "entry_points", lambda group: [entry] if group == "acdc.formats" else [])
    FORMATS.reload()
    try:
        done = acdc("export", "e", "--format", "count", "--out", "x")
        assert Path("x").read_text() == "20" and "lost in format count: all else" in done.err
        assert {"name": "count", "exports": "yes", "imports": "-", "what": "of edges"} in acdc(
            "list", "formats", "--json"
        ).json
        refused = acdc("import", "x", "--format", "count")
        assert refused.code == 2 and "'count' cannot be imported; use one of" in refused.err
    finally:
        FORMATS.reload()


BAD = [
    ("export a --format gif --out x", "format 'gif' does not exist; use one of svg"),
    ("export s --format svg --out x", "holds only scores: a picture needs the circuit"),
    ("export s --format edge-pruning --out x", "the run has only scores"),
    ("export a --format mib --out x", "needs a score for every edge, which this run lacks"),
    ("export nowhere --format eap-ig --out x", "does not exist"),
    ("export e --format mib --out a/circuit.json", "cannot be made"),
    ("import nowhere --format eap-ig", "nowhere does not exist"),
    ("import a --format eap-ig", "a is a folder, not an ordinary file"),
    ("import a/circuit.json --format svg", "'svg' cannot be imported"),
    ("import a/circuit.json --format eap-ig", "a/circuit.json: cfg: expected an object"),
    ("import e.json --format eap-ig --edges 5 --threshold 1", "only one of"),
    ("import e.json --format eap-ig --verify-rows 0", "--verify-rows 0 must be at least 1"),
    ("import e.json --format eap-ig --edges 5000", "must be between 1 and"),
    ("import e.json --format eap-ig --level coordinates", "only edges, nodes and positions are imported"),
    ("import a.json --format eap-ig --edges 5", "has no scores of all edges to choose from: leave out --edges"),
    ("import e.json --format eap-ig --level nodes --task t.jsonl", "has neither scores of nodes"),
    ("import empty.json --format eap-ig", "neither scores of edges nor a circuit"),
    ("import e.json --format eap-ig --out a", "holds a run of 'acdc discover'"),
    ("import e.json --format eap-ig --metric magic", "'magic' is not one of"),
    ("import x.pt --format eap-ig", "x.pt is a pickle, which acdc never loads"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_input(acdc, runs, words, message):
    """One sentence, exit code 2, and nothing left behind."""
    Path("x.pt").write_bytes(b"PK\x03\x04")
    for run in "ae":
        acdc("export", run, "--format", "eap-ig", "--out", f"{run}.json")
    record = load("a.json")
    empty = {name: {"score": 0.0, "in_graph": False} for name in record["edges"]}
    nodes = {name: {"in_graph": False} for name in record["nodes"]}
    Path("empty.json").write_text(json.dumps(record | {"edges": empty, "nodes": nodes}))
    Path("e.json").write_text(json.dumps(load("e.json") | {"nodes": nodes}))
    before = sorted(Path().rglob("*"))
    done = acdc(*words.split())
    assert done.code == 2 and message in done.err, done.err
    assert done.err.startswith("acdc: error: ") and done.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_places_and_roles_of_pictures(acdc, tmp_path):
    """With fixed places a head stands where it does in another circuit; roles need a full verification."""
    for edges in (20, 40):
        words = ("--task", "induction", "--limit", 16, "--method", "eap", "--edges", edges, "--out", f"of-{edges}")
        assert acdc("discover", *words).code == 0
        assert acdc("export", f"of-{edges}", "--format", "svg", "--fixed", "--out", f"{edges}.svg").code == 0
    few, many = ((tmp_path / f"{edges}.svg").read_text() for edges in (20, 40))
    (place,) = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>a1.h2</text>', few)
    assert place in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>a1.h2</text>', many)
    unverified = acdc("export", "of-20", "--format", "svg", "--group", "role", "--out", "roles.svg")
    assert unverified.code == 2 and "acdc verify" in unverified.err
    other = acdc("export", "of-20", "--format", "eap-ig", "--fixed", "--out", "x.json")
    assert other.code == 2 and "--fixed: pictures have" in other.err and not (tmp_path / "x.json").exists()
    wide = acdc("export", "of-20", "--format", "svg", "--width", 85, "--out", "new/folder/a.svg")
    assert wide.code == 0 and wide.out.startswith("wrote new/folder/a.svg")
    assert 'width="85mm"' in (tmp_path / "new/folder/a.svg").read_text()
    both = acdc("export", "of-20", "--format", "svg", "--width", 85, "--font-size", 9, "--out", "b.svg")
    assert both.code == 2 and "give one of them" in both.err
    paged = acdc("export", "of-20", "--format", "svg", "--page", "a4", "--out", "b.svg")
    assert paged.code == 2 and "--page works only with format 'pdf'" in paged.err


def test_greedy_choice_goes_with_edges_alone(acdc, runs):
    acdc("export", "e", "--format", "eap-ig", "--out", "x.json")
    words = ("import", "x.json", "--format", "eap-ig", *TASK, "--choose", "greedy", "--edges", 20, "--verify", "none")
    refused = acdc(*words, "--level", "nodes", "--out", "n")
    assert refused.code == 2 and refused.err.count("\n") == 1 and not Path("n").exists(), refused.err
    assert "--choose greedy works only with scores of edges, but x.json holds nodes" in refused.err
    assert acdc(*words, "--out", "i").code == 0


def test_files_of_another_kind_are_one_sentence(acdc, tmp_path):
    (tmp_path / "graph.json").write_text(
        '{"directed": true, "multigraph": false, "graph": [], "nodes": [], "edges": []}'
    )
    (tmp_path / "wat.graphml").write_text('<?xml version="1.0" encoding="wat"?><graphml/>')
    (tmp_path / "mib.jsonl").write_text('{"prompt": "a b c", "x_counterfactual": "a b d", "label": "x"}\n')
    for words, said in (
        (("import", "graph.json", "--format", "networkx"), "graph.json, graph: expected an object"),
        (("import", "wat.graphml", "--format", "graphml"), "wat.graphml is not valid GraphML"),
        (("check-task", "hf:mib.jsonl"), "x_counterfactual: expected named fields, got str"),
    ):
        refused = acdc(*words)
        assert refused.code == 2 and said in refused.err and refused.err.count("\n") == 1, refused.err
