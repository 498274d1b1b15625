"""`acdc trace`, and what other commands do with what it leaves behind."""

import json

import pytest
from families import config_folder

import acdc as package
from acdc.attribution.interventions import Freeze

PROMPT = "When Mary and John went to the store, John gave a drink to"
SMALL = ("trace", "--prompt", PROMPT, "--max-nodes", "200", "--out", "run")


@pytest.fixture
def traced(acdc):
    outcome = acdc(*SMALL)
    assert outcome.code == 0, outcome.err
    return outcome


def test_what_is_printed_and_written(traced, tmp_path):
    for words in (
        "trace of ",
        "in trio",
        "'Mary'",
        "of 200 neurons",
        "replacement score",
        "Direct effects of",
        "With ablated",
    ):
        assert words in traced.out, words
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "attribution.dot", "attribution.html", "attribution.json", "attribution.safetensors", "attribution.svg",
        "attribution-verification.json", "run.json",
    }  # fmt: skip
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["kind"] == "trace" and record["status"] == "complete"
    assert set(record["artefacts"]) == {path.name for path in (tmp_path / "run").iterdir()} - {"run.json"}


def test_the_same_again_is_the_same(acdc, traced, tmp_path):
    def files():
        return {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.name != "run.json"}

    before = files()
    again = acdc(*SMALL)
    assert "(already there)" in again.out and files() == before
    (tmp_path / "run").rename(tmp_path / "old")
    acdc(*SMALL)
    assert files() == before


def test_another_prompt_is_refused_in_the_same_folder(acdc, traced):
    outcome = acdc("trace", "--prompt", "Mary and", "--out", "run")
    assert outcome.code == 2 and "holds a run of other inputs (tokens:" in outcome.err


def test_a_changed_file_is_made_again(acdc, traced, tmp_path):
    before = (tmp_path / "run/attribution.svg").read_bytes()
    (tmp_path / "run/attribution.svg").write_text("no picture")
    (tmp_path / "run/attribution-verification.json").unlink()
    outcome = acdc(*SMALL)
    assert "attribution.svg was changed since its run wrote it" in outcome.err
    assert (tmp_path / "run/attribution.svg").read_bytes() == before


def test_json(acdc):
    found = acdc(*SMALL, "--json", "--no-verify").json
    assert found["logits"][0]["token"].strip() == "Mary"
    assert found["verification"] is None and 0 < found["replacement_score"] < 1
    assert found["kept_nodes"] <= found["nodes"]


def test_show(acdc, traced):
    shown = acdc("show", "run")
    assert shown.code == 0 and shown.out.splitlines()[:4] == traced.out.splitlines()[:4]
    assert acdc("show", "run", "--json").json["verification"]["logit"].startswith("logit:")


def test_export_and_back(acdc, traced, tmp_path):
    assert acdc("export", "run", "--format", "attribution-graph", "--out", "graph.json").code == 0
    graph = package.load_graph(tmp_path / "graph.json")
    own = package.load_graph(tmp_path / "run")
    assert {node.id for node in graph.nodes} == {node.id for node in own.kept(own.prune())}
    assert "trace of" in acdc("show", "graph.json").out
    outcome = acdc("export", "run", "--format", "attribution-graph", "--out", "site")
    assert outcome.out.count("wrote ") == 2
    listed = json.loads((tmp_path / "site/graph-metadata.json").read_text())["graphs"]
    assert [one["slug"] for one in listed] == ["site"] and (tmp_path / "site/site.json").exists()
    for format, begins in (("svg", b"<svg"), ("dot", b"// "), ("html", b"<!DOCTYPE")):
        assert acdc("export", "graph.json", "--format", format, "--out", f"out.{format}").code == 0
        assert (tmp_path / f"out.{format}").read_bytes().startswith((begins, b"digraph"))


def test_a_corrupted_prompt_is_verified_with(acdc, tmp_path):
    """And a run with it is another run, whose command makes it again."""
    other = PROMPT.replace("John gave", "Mary gave")
    words = (*SMALL, "--corrupted", other)
    found = acdc(*words)
    assert found.code == 0 and "With ablated neurons at their values on the corrupted prompt:" in found.out
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert "--corrupted" in record["command"] and "corrupted" in record["inputs"]
    assert "already there" in acdc(*words).out
    refused = acdc(*SMALL)
    assert refused.code == 2 and "other inputs" in refused.err
    refused = acdc(*SMALL[:-1], "other", "--corrupted", "Mary")
    assert refused.code == 2 and "the corrupted prompt has" in refused.err


@pytest.mark.parametrize("format", ["svg", "dot"])
def test_nothing_is_folded_where_that_is_asked_for(acdc, traced, tmp_path, format):
    words = ("export", "run", "--format", format, "--out")
    assert acdc(*words, "short").code == 0
    assert acdc(*words, "long", "--detail", "full").code == 0
    own = package.load_graph(tmp_path / "run")
    short, long = ((tmp_path / name).read_text() for name in ("short", "long"))
    assert short == (tmp_path / f"run/attribution.{format}").read_text()
    units = [node for node in own.kept(own.prune()) if node.is_unit]
    assert all((f">{node.index}<" if format == "svg" else f'"{node.id}"') in long for node in units)
    refused = acdc(*words, "x", "--detail", "summary")
    assert refused.code == 2 and "only --detail full, which folds nothing" in refused.err


def test_own_logits(acdc):
    one = acdc(*SMALL[:-2], "--logit", "Mary", "--less", "John", "--json", "--no-verify").json
    assert [logit["probability"] for logit in one["logits"]] == [1.0]
    both = acdc(*SMALL[:-2], "--logit", "Mary", "--logit", "John", "--json", "--no-verify").json
    assert one["logits"][0]["value"] == pytest.approx(both["logits"][0]["value"] - both["logits"][1]["value"], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--logit", "Mary John"), "--logit 'Mary John' is not one token"),
        (("--less", "John"), "--less takes one token off one --logit"),
        (("--max-nodes", "-1"), "--max-nodes -1 must be at least 1"),
        (("--node-share", "2"), "--node-share 2 must be above 0"),
        (("--probability", "0"), "share 0 of the probability"),
        (("--dictionary", "nowhere"), "dictionary nowhere is not a folder"),
        (("--dtype", "bfloat16"), "use --dtype float32 or float64"),
        (("--prompt", "Mary " * 40), "the prompt has"),
    ],
)
def test_bad_input(acdc, words, says, tmp_path):
    outcome = acdc("trace", "--prompt", PROMPT, *words)
    assert outcome.code == 2 and says in outcome.err and "Traceback" not in outcome.err
    assert not list((tmp_path / "runs").glob("*"))


def test_other_commands_say_that_there_is_no_circuit(acdc, traced):
    for words in (("verify", "run"), ("minimise", "run"), ("export", "run", "--format", "graphml", "--out", "x")):
        outcome = acdc(*words)
        assert outcome.code == 2 and "attribution graph" in outcome.err, outcome.err
    outcome = acdc("export", "run", "--format", "svg", "--fixed", "--out", "x")
    assert outcome.code == 2 and "pictures of circuits have these options" in outcome.err


def test_a_circuit_is_no_trace(acdc):
    acdc("discover", "--task", "induction", "--method", "eap", "--edges", "5", "--verify", "none", "--out", "circuit")
    outcome = acdc("export", "circuit", "--format", "attribution-graph", "--out", "x.json")
    assert outcome.code == 2 and "holds no attribution graph, which 'acdc trace' makes" in outcome.err


def test_pickles(acdc, tmp_path):
    (tmp_path / "graph.pt").write_bytes(b"")
    outcome = acdc("export", "graph.pt", "--format", "svg", "--out", "x.svg")
    assert outcome.code == 2 and "is a pickle" in outcome.err and "create_graph_files" in outcome.err


def test_traces_are_listed(acdc, traced):
    rows = acdc("list", "runs", "--out", ".", "--json").json
    assert [(row["run"], row["kind"], row["status"]) for row in rows] == [("run", "trace", "complete")]


def test_python(trio, tmp_path):
    graph = package.trace(trio, PROMPT, max_nodes=200)
    assert len(graph.units) == 200 and graph.hints
    graph.save(tmp_path)
    assert package.load_graph(tmp_path).nodes == graph.nodes
    assert graph.to_svg().startswith("<svg") and graph._repr_svg_() == graph.to_svg()
    found = package.verify_graph(trio, graph)
    assert found.largest_error < 1e-9 and len(found.kept_alone) == 2 and len(list(Freeze)) == 3
    difference = package.trace(trio, PROMPT, logits=["Mary"], less="John", max_nodes=5)
    assert len(difference.logits) == 1
    with pytest.raises(package.InputError, match="exactly one of each"):
        package.trace(trio, PROMPT, less="John")


def test_configurations_alone_cannot_be_traced(acdc, tmp_path):
    (tmp_path / "m").mkdir()
    config_folder("llama", tmp_path / "m")
    assert acdc("trace", "--model", "m", "--prompt", "1 2").code == 2


def test_the_rows_of_a_task_give_a_verified_circuit(acdc, tmp_path):
    words = ("trace", "--task", "induction", "--contrast", "--limit", "112", "--out", "rows")
    done = acdc(*words)
    assert done.code == 0 and "verification on 16 unseen rows" in done.out and "head or neuron" in done.out
    record = json.loads((tmp_path / "rows/circuit.json").read_text())
    assert (record["level"], record["ablation"], record["method"]["options"]) == (
        "neurons",
        "resample",
        {"hold_attention": True},
    )
    command = json.loads((tmp_path / "rows/run.json").read_text())["command"]
    assert "--level neurons" in command and "--hold-attention" in command
    assert "already there" in acdc(*words).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --prompt to trace one prompt, or --task"),
        (("--task", "ioi", "--prompt", PROMPT), "one of both"),
        (("--task", "ioi", "--logit", "John"), "--logit works only with --prompt"),
        (("--prompt", PROMPT, "--contrast"), "--contrast works only with --task"),
    ],
)
def test_options_of_prompts_and_tasks_do_not_mix(acdc, words, said):
    refused = acdc("trace", *words)
    assert refused.code == 2 and said in refused.err
