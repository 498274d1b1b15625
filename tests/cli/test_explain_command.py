"""`acdc explain` and `acdc dictionaries`."""

import json

import pytest


def test_what_is_printed_and_written(acdc, tmp_path):
    outcome = acdc("explain", "m3.n244", "--task", "greater_than", "--tokens", "600", "--out", "page")
    assert outcome.code == 0, outcome.err
    for words in ("neuron m3.n244 in trio", "raises", "excited by", "top activations", "to [the] year"):
        assert words in outcome.out, words
    page = (tmp_path / "page/m3.n244.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "Top Activations" in page and "<script" not in page
    assert (tmp_path / "page/m3.n244.json").exists()
    again = (tmp_path / "page/m3.n244.json").read_bytes()
    acdc("explain", "m3.n244", "--task", "greater_than", "--tokens", "600", "--out", "page")
    assert (tmp_path / "page/m3.n244.json").read_bytes() == again


def test_heads_and_neighbours(acdc, tmp_path):
    acdc("discover", "--task", "induction", "--method", "eap", "--edges", "30", "--verify", "none", "--out", "run")
    edges = json.loads((tmp_path / "run/circuit.json").read_text())["edges"]
    head = next(edge["id"].split("->")[0] for edge in edges if edge["id"].startswith("a"))
    outcome = acdc("explain", head, "--task", "induction", "--tokens", "300", "--run", "run")
    assert outcome.code == 0, outcome.err
    for words in (f"head {head} in trio", "tokens after such (induction)", "(OV)", "(QK)", "reads from", "writes to"):
        assert words in outcome.out, words
    assert acdc("explain", head, "--task", "induction", "--tokens", "300", "--json").json["acdc"]["head"]["ov"]


def test_text_from_outside(acdc, tmp_path):
    """Tokens of a text file reach terminal and page as text alone."""
    (tmp_path / "bad.txt").write_text("When Mary and John went to the store <script> \x1b[31m the store\n" * 8)
    outcome = acdc("explain", "m1.n3", "--text", "bad.txt", "--out", "page")
    assert outcome.code == 0 and "\x1b" not in outcome.out
    assert "<script" not in (tmp_path / "page/m1.n3.html").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("explain", "m1.n3"), "give --text FILE or --task TASK"),
        (("explain", "m1.x3", "--task", "ioi"), "is no unit"),
        (("explain", "m1.n3", "--task", "ioi", "--tokens", "0"), "--tokens 0 must be at least 1"),
        (("explain", "m1.n3", "--text", "nowhere.txt"), "nowhere.txt does not exist"),
        (("dictionaries", "nowhere"), "dictionary nowhere is not a folder"),
        (("dictionaries", "trio-transcoders", "--memory", "much"), "--memory 'much' is no amount of memory"),
        (("dictionaries", "trio-transcoders", "--write", "sae-lens"), "and --out the folder"),
        (("dictionaries", "trio-transcoders", "--task", "ioi"), "give --model, too"),
        (("dictionaries", "trio-transcoders", "--hook", "resid_post1"), "says it itself"),
        (("train-dictionary", "--task", "ioi", "--kind", "lorsa", "--out", "d"), "--kind 'lorsa' is not one of"),
        (("train-dictionary", "--task", "ioi", "--layers", "x", "--out", "d"), "--layers 'x' is no list"),
    ],
)
def test_bad_input(acdc, words, says):
    outcome = acdc(*words)
    assert outcome.code == 2 and says in outcome.err and "Traceback" not in outcome.err, outcome.err


def test_dictionaries(acdc, tmp_path):
    outcome = acdc("dictionaries", "trio-transcoders", "--model", "trio", "--task", "ioi", "--json")
    assert outcome.code == 0, outcome.err
    sets = outcome.json["sets"]
    assert [one["reads"] for one in sets] == [f"mlp_in{layer}" for layer in range(4)]
    assert all(one["unexplained"] < 0.05 for one in sets)
    assert acdc("dictionaries", "trio-transcoders", "--write", "circuit-tracer", "--out", "copy").code == 0
    assert (
        acdc("dictionaries", "copy").out.splitlines()[2:]
        == acdc("dictionaries", "trio-transcoders").out.splitlines()[2:]
    )
    outcome = acdc("dictionaries", "trio-transcoders", "--write", "circuit-tracer", "--out", "copy")
    assert outcome.code == 2 and "not an empty folder" in outcome.err


def test_a_trace_of_features(acdc, tmp_path):
    prompt = ("--prompt", "When Mary and John went to the store, John gave a drink to")
    traced = acdc("trace", *prompt, "--dictionary", "trio-transcoders", "--max-nodes", "60", "--out", "run")
    assert traced.code == 0 and "features" in traced.out, traced.err
    small = acdc(
        "trace", *prompt, "--dictionary", "trio-transcoders", "--max-nodes", "60", "--memory", "100k", "--json"
    )
    assert small.code == 0, small.err


def test_pages_of_a_circuit_s_strongest_units(acdc, tmp_path):
    """Heads and neurons, the largest |score| first; the report leads to their pages."""
    found = ("discover", "--task", "greater_than", "--method", "eap", "--level", "neurons", "--edges", "60")
    assert acdc(*found, "--verify", "none", "--out", "run").code == 0
    record = json.loads((tmp_path / "run/circuit.json").read_text())
    sizes = {unit["id"]: abs(unit["score"]) for unit in record["neurons"]}
    strongest = sorted(sizes, key=lambda name: (-sizes[name], name))[:3]
    outcome = acdc("explain", "--run", "run", "--strongest", "3", "--tokens", "300", "--json")
    assert outcome.code == 0, outcome.err
    assert [unit["acdc"]["unit"] for unit in outcome.json["units"]] == strongest
    assert all((tmp_path / f"run/units/{name}.html").exists() for name in strongest)
    report = (tmp_path / "run/report.html").read_text()
    assert f'"{strongest[0]}":"units/{strongest[0]}.html"' in report
    recorded = json.loads((tmp_path / "run/run.json").read_text())["artefacts"]
    assert f"units/{strongest[0]}.html" in recorded
    refused = acdc("explain", "--run", "run", "--out", "pages")
    assert refused.code == 2 and "--out is for one unit" in refused.err


def test_pages_of_a_trace(acdc, tmp_path):
    prompt = ("--prompt", "When Mary and John went to the store, John gave a drink to")
    assert acdc("trace", *prompt, "--max-nodes", "200", "--out", "run").code == 0
    before = (tmp_path / "run/attribution.html").read_text()
    outcome = acdc("explain", "--run", "run", "--strongest", "2", "--task", "ioi", "--tokens", "300")
    assert outcome.code == 0 and "strongest 2 units of run" in outcome.out, outcome.err
    after = (tmp_path / "run/attribution.html").read_text()
    names = [path.stem for path in sorted((tmp_path / "run/units").glob("*.html"))]
    assert len(names) == 2 and all(f'"{name}":"units/{name}.html"' in after for name in names)
    assert '"pages"' not in before
    assert acdc("open", "run", "--no-browser").code == 0
    assert (tmp_path / "run/attribution.html").read_text() == after
