"""Scores of more units than a limit are arrays: the same numbers, read back by every command that reads scores."""

import json
import re
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from acdc.artefacts import named_scores
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.named_scores import NamedScores, named, strongest
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph
from acdc.graph.units import EdgeUnits, NodeUnits
from acdc.options import Choosing
from acdc.runs.ranking import rank_by, rank_edges
from acdc.runs.run_directory import RunDirectory, SourceRecord
from acdc.runs.score_files import ARRAY, SCORES, read_score_run, read_scores, read_values, write_scores
from acdc.search.choosing import Ranking

SHAPE_70B = Anatomy(
    n_layers=80, n_heads=64, n_kv_heads=8, d_model=8192, d_head=128, d_vocab=128256, d_vocab_out=128256, n_ctx=8192
)
DISCOVER = ("discover", "--task", "induction", "--method", "eap", "--edges", "20", "--limit", "8", "--verify", "none")
SCORE = ("score", "--task", "induction", "--method", "eap", "--limit", "8")


@pytest.fixture
def few(monkeypatch):
    """Every run of trio has more edges than are written by name."""
    monkeypatch.setattr(named_scores, "MOST_NAMED", 400)


@pytest.mark.parametrize("kind", [EdgeUnits, NodeUnits])
def test_an_array_is_the_same_mapping(trio, kind, few, monkeypatch):
    units = kind(trio.graph)
    values = np.random.default_rng(0).normal(size=units.shape)
    monkeypatch.setattr(named_scores, "MOST_NAMED", 0)
    many = named(values, units)
    assert isinstance(many, NamedScores)
    assert dict(many) == units.by_name(values) and list(many) == list(units.names()) and len(many) == units.count
    with pytest.raises(KeyError):
        many["a9.h9->logits"]
    assert strongest(many, 7) == strongest(units.by_name(values), 7)
    assert strongest(many, 10**9) == strongest(units.by_name(values), 10**9)


def test_of_equal_scores_the_first_places_are_strongest(trio):
    units = EdgeUnits(trio.graph)
    values = np.zeros(units.shape)
    values[[5, 9]] = [-1.0, 1.0]
    names = list(islice(units.names(), 10))
    assert strongest(NamedScores(values, units), 3) == [(names[5], -1.0), (names[9], 1.0), (names[0], 0.0)]
    assert strongest(NamedScores(values, units), 0) == []


def test_a_discovery_reads_its_array(acdc, monkeypatch):
    """The same circuit, ranking, export and page as with JSON; a resumed run leaves the file alone."""
    acdc(*DISCOVER, "--out", "json")
    monkeypatch.setattr(named_scores, "MOST_NAMED", 400)
    acdc(*DISCOVER, "--out", "array")
    assert not Path("array", SCORES).exists() and not Path("json", ARRAY).exists()
    assert Path("array/circuit.json").read_bytes() == Path("json/circuit.json").read_bytes()
    circuit = Circuit.load(Path("array"))
    by_name = json.loads(Path("json", SCORES).read_text())["edges"]
    assert dict(read_scores(Path("array"), circuit.units)) == by_name
    ranks = [rank_edges(Path(name), circuit) for name in ("array", "json")]
    assert ranks[0].values.tobytes() == ranks[1].values.tobytes()
    assert rank_by(circuit, read_scores(Path("array"), circuit.units)).values.tobytes() == ranks[1].values.tobytes()
    before = Path("array", ARRAY).stat().st_mtime_ns
    assert acdc(*DISCOVER, "--out", "array").code == 0 and Path("array", ARRAY).stat().st_mtime_ns == before
    for name in ("array", "json"):
        assert acdc("export", name, "--format", "eap-ig", "--out", f"{name}.json").code == 0
    assert Path("array.json").read_bytes() == Path("json.json").read_bytes()
    assert acdc("show", "array").code == 0


def test_scores_alone_read_their_array(acdc, monkeypatch):
    acdc(*SCORE, "--out", "json")
    monkeypatch.setattr(named_scores, "MOST_NAMED", 400)
    for _ in range(2):  # made, and read
        printed = acdc(*SCORE, "--out", "array").out
        assert f"scores  {Path('array', ARRAY)}" in printed and "strongest 10 of 479 edges" in printed
        said = acdc(*SCORE, "--out", "array", "--json").json
        assert said["scores"] == str(Path("array", ARRAY)) and "edges" not in said and said["method"] == "eap"
    (record, scores), (named_record, by_name) = (read_score_run(Path(name)) for name in ("array", "json"))
    assert dict(scores) == by_name and record == named_record
    for name in ("array", "json"):
        assert acdc("export", name, "--format", "eap-ig", "--out", f"{name}.json").code == 0
    assert Path("array.json").read_bytes() == Path("json.json").read_bytes()
    shown = acdc("show", "array").out
    assert f"scores  {Path('array', ARRAY)}" in shown and "strongest 10 of 479 edges" in shown


def damaged(content: bytes) -> dict[str, tuple[bytes, str]]:
    """What may be in the place of an array, and what is said of it."""
    values = load(content)["edges"]
    bad = values.copy()
    bad[3] = np.nan
    return {
        "cut off": (content[:-8], "is damaged: not valid safetensors"),
        "text": (b"{}", "is damaged: not valid safetensors"),
        "empty": (b"", "is damaged: not valid safetensors"),
        "another size": (save({"edges": values[:-1]}), r"holds edges \[478\] float64, not edges \[479\] float64"),
        "another level": (save({"nodes": values}), r"holds nodes \[479\] float64, not edges"),
        "narrow": (save({"edges": values.astype(np.float32)}), r"holds edges \[479\] float32, not"),
        "more": (save({"edges": values, "nodes": values}), "it holds edges"),
        "not finite": (save({"edges": bad}), "holds a score that is not finite, at edges 3"),
        "changed": (save({"edges": values + 1}), "was changed since its run wrote it"),
    }


@pytest.mark.parametrize("how", damaged(save({"edges": np.zeros(479)})))
def test_a_damaged_array_is_refused(acdc, few, how):
    acdc(*DISCOVER, "--out", "run")
    file = Path("run", ARRAY)
    content, problem = damaged(file.read_bytes())[how]
    file.write_bytes(content)
    with pytest.raises(InputError, match=problem) as error:
        read_values(Path("run"), Circuit.load(Path("run")))
    assert re.search(re.escape(str(file)), str(error.value))
    said = acdc("export", "run", "--format", "eap-ig", "--out", "x.json")
    assert said.code == 2 and said.err.startswith("acdc: error: ") and said.err.count("\n") == 1


def test_an_array_without_its_record_is_no_score_run(acdc, few):
    acdc(*SCORE, "--out", "run")
    file = Path("run", ARRAY)
    file.write_bytes(save(load(file.read_bytes())))
    said = acdc("export", "run", "--format", "eap-ig", "--out", "x.json")
    assert said.code == 2 and f"{file} is damaged: not valid JSON" in said.err


@pytest.mark.slow
def test_sixteen_million_edges_take_what_an_array_takes(tmp_path):
    """Memory of ids, ranking, saving and loading at the shape of a 70B model, traced."""
    units = EdgeUnits(ComponentGraph(SHAPE_70B))
    assert units.count == 16_654_201
    values = np.random.default_rng(0).normal(size=units.count)
    tracemalloc.start()
    try:
        scores = named(values, units)
        first = next(iter(scores))
        assert scores["input->logits"] == values[units.graph.index["input->logits"]]
        assert first == "input->a0.h0<q>"
        assert tracemalloc.get_traced_memory()[1] < 20e6, "ids are made when asked for"
        chosen = Ranking(units, values, Choosing.top).by_edges(1000)
        assert 0 < chosen.size <= 1000 and len(strongest(scores, 10)) == 10
        assert tracemalloc.get_traced_memory()[1] < 60 * units.count, "a few vectors of the graph"
        source = SourceRecord(model="", revision=None)
        run = RunDirectory.open(tmp_path / "run", "x", "score", {}, "x", source, "cpu")
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        write_scores(run, units.level, scores)
        found = read_scores(run.path, units)
        assert tracemalloc.get_traced_memory()[1] - before < 5 * values.nbytes
    finally:
        tracemalloc.stop()
    assert found.values_in_order.tobytes() == values.tobytes()
    assert (run.path / ARRAY).stat().st_size < 1.001 * values.nbytes
