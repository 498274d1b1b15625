"""ACDC over nodes, and under several thresholds at once."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from families import boot
from noise import noise

from acdc.api import discover, sweep, verify
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.options import Level
from acdc.progress import silent
from acdc.search.acdc.search import acdc as run_acdc
from acdc.search.acdc.search import candidates
from acdc.search.acdc.search import decide as run_sweep
from acdc.search.options import OrderOptions
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS


def nodes_one_at_a_time(behaviour: Behaviour, threshold: float) -> tuple[set[str], list[str]]:
    """Naive ACDC over nodes: from the last component, each cut off from all that it reads and that reads it.

    Gives (kept, tested).
    """
    graph, sign = behaviour.graph, behaviour.metric.sign
    removed, tested = set(), []

    def unused(reader, without: set[str]) -> bool:
        owners = {owner.id for owner in graph.owners(reader)}
        return bool(owners) and owners <= without

    def objective(without: set[str]) -> float:
        cut = np.array([edge.writer.id in without or unused(edge.reader, without) for edge in graph.edges])
        return sign * behaviour.measure(cut[None])[0, 0].mean()

    current = objective(removed)
    for writer in reversed(graph.writers[len(graph.embeddings) :]):
        tested.append(writer.id)
        after = objective(removed | {writer.id})
        if after - current < threshold:
            removed.add(writer.id)
            current = after
    return {writer.id for writer in graph.writers[len(graph.embeddings) :]} - removed, tested


@pytest.mark.parametrize(("metric", "threshold"), [("kl", 0.5), ("logit_diff", 0.5), ("nll", 0.2)])
def test_nodes_equal_one_at_a_time(trio, induction, metric, threshold):
    behaviour = Behaviour(trio, induction, range(6), METRICS[metric])
    found = run_acdc(behaviour, OrderOptions(threshold=threshold, level=Level.nodes), silent)
    kept, tested = nodes_one_at_a_time(behaviour, threshold)
    assert set(found.units) == kept and 0 < len(kept) < len(tested)
    assert [test.candidate for test in found.tests] == tested
    measured = behaviour.metric.sign * behaviour.measure(~found.kept[None])[0, 0].mean()
    last = found.tests[-1]
    assert measured == pytest.approx(last.before if last.kept else last.after, abs=1e-9)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt-neox-parallel", "native-attention-only"])
def test_nodes_of_other_families(family):
    model = boot(family, layers=3, seed=2)
    behaviour = Behaviour(model, noise(), range(4), METRICS["kl"])
    found = run_acdc(behaviour, OrderOptions(threshold=0.1, level=Level.nodes), silent)
    assert set(found.units) == nodes_one_at_a_time(behaviour, 0.1)[0]


def test_a_circuit_of_nodes(trio, induction, tmp_path):
    found = discover(trio, induction, level="nodes", limit=16)
    circuit = found.circuit
    names = {node.id for node in circuit.nodes}
    assert circuit.level == "nodes" and 0 < len(names) < 20
    writers = {edge.id.split("->")[0] for edge in circuit.edges}
    assert writers == names | {"input"}
    scores = {node.id: node.score for node in circuit.nodes} | {"input": 0.0}
    assert all(edge.score == scores[edge.id.split("->")[0]] for edge in circuit.edges)
    circuit.save(tmp_path / "c.json")
    assert type(circuit).load(tmp_path / "c.json") == circuit
    report = verify(trio, induction, circuit)
    assert [removal.id for removal in report.removals] == [node.id for node in circuit.nodes]
    assert all(count <= circuit.edges_total for count in report.random.edges) and report.faithfulness > 0.5


def test_a_node_more_or_less_is_a_damaged_circuit(trio, induction, tmp_path):
    circuit = discover(trio, induction, level="nodes", limit=8).circuit
    circuit.save(tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    record["nodes"].pop()
    (tmp_path / "c.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="not those among its nodes"):
        type(circuit).load(tmp_path / "c.json")


@pytest.mark.parametrize("level", list(Level))
def test_a_sweep_decides_as_separate_runs_do(trio, induction, level):
    thresholds = [0.05, 0.4, 0.2, 2.0, 0.4]
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    options = METHODS["acdc"].options
    together = run_sweep(
        behaviour, thresholds, options(level=level), silent, candidates(behaviour, options(level=level), silent)
    )
    shared = behaviour.work
    apart = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    for threshold, found in zip(thresholds, together, strict=True):
        alone = run_acdc(apart, options(threshold=threshold, level=level), silent)
        assert (found.kept == alone.kept).all() and found.threshold == threshold
        assert [(t.candidate, t.kept) for t in found.tests] == [(t.candidate, t.kept) for t in alone.tests]
        for mine, theirs in zip(found.tests, alone.tests, strict=True):
            assert (mine.before, mine.after) == pytest.approx((theirs.before, theirs.after), abs=1e-9)
        assert found.values == pytest.approx(alone.values, abs=1e-9)
        assert found.objective == pytest.approx(alone.objective, abs=1e-9)
    assert shared.evaluations < apart.work.evaluations


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_a_sweep_forks_with_wires_and_scales(family):
    behaviour = Behaviour(boot(family, 2, 1), noise(), range(4), METRICS["kl"], direct_edges=True)
    thresholds = [0.01, 0.02, 0.05, 0.1]
    for threshold, found in zip(thresholds, run_sweep(behaviour, thresholds, OrderOptions(), silent), strict=True):
        alone = run_acdc(behaviour, OrderOptions(threshold=threshold), silent)
        assert (found.kept == alone.kept).all()
        assert found.drift < 1e-9


def test_progress_of_a_sweep_reaches_its_end(trio, induction):
    done = []

    @contextmanager
    def watch(what, total, unit):
        done.append(-total)
        yield lambda count, note="": done.append(count)

    behaviour = Behaviour(trio, induction, range(4), METRICS["logit_diff"])
    run_sweep(behaviour, [0.1, 0.2, 0.5, 1.0], OrderOptions(), watch)
    assert sum(done) == 0


def test_points_of_a_curve(trio, induction):
    curve = sweep(trio, induction, [1.0, 0.1], limit=12)
    assert [point.threshold for point in curve.points] == [0.1, 1.0]
    assert len(curve.points[0].circuit.edges) > len(curve.points[1].circuit.edges) > 0
    alone = discover(trio, induction, threshold=0.1, limit=12).circuit
    assert [edge.id for edge in curve.points[0].circuit.edges] == [edge.id for edge in alone.edges]
    report = verify(trio, induction, alone)
    assert curve.points[0].unseen_faithfulness == pytest.approx(report.faithfulness, abs=1e-9)


def test_sweep_on_the_command_line(acdc, tmp_path):
    words = ("sweep", "--task", "induction", "--limit", "8", "--thresholds", "0.2,2", "--out", "s")
    done = acdc(*words)
    assert done.code == 0 and done.err == "" and "on unseen rows" in done.out
    record = json.loads((tmp_path / "s/curve.json").read_text())
    assert [point["threshold"] for point in record["points"]] == [0.2, 2.0]
    assert "<polyline" in (tmp_path / "s/curve.svg").read_text()
    assert acdc("export", f"s/{record['points'][0]['circuit']}", "--format", "svg", "--out", "c.svg").code == 0
    before = (tmp_path / "s/curve.json").read_bytes()
    again = acdc(*words)
    assert "already there" in again.out and (tmp_path / "s/curve.json").read_bytes() == before
    for name in ("curve.svg", record["points"][1]["circuit"]):
        (tmp_path / "s" / name).unlink()
        assert acdc("sweep", "--task", "induction", "--limit", "8", "--thresholds", "2,0.2", "--out", "s").code == 0
        assert (tmp_path / "s" / name).is_file() and (tmp_path / "s/curve.json").read_bytes() == before
    assert acdc(*words[:-4], "--thresholds", "0.3", "--out", "s").code == 2
    assert acdc("show", "s").code == 2
    assert "name one of its circuits" in acdc("export", "s", "--format", "svg", "--out", "d.svg").err


def test_a_sweep_over_nodes_may_keep_none(acdc):
    words = ("sweep", "--task", "induction", "--limit", "128", "--level", "nodes", "--thresholds", "0.5,1000")
    done = acdc(*words, "--json")
    assert [point["nodes"] for point in done.json["points"]][1] == 0 < done.json["points"][0]["nodes"]
    assert "no rows left to measure" in done.err


@pytest.mark.thorough
def test_direct_edges_on_the_command_line(acdc, tmp_path):
    done = acdc("discover", "--task", "induction", "--limit", "8", "--direct-edges", "--out", "r", "--json")
    assert done.code == 0 and done.json["edges_total"] == 479 + 48
    record = json.loads((tmp_path / "r/circuit.json").read_text())
    assert any(">->a" in edge["id"] for edge in record["edges"])
    assert record["model"]["direct_edges"] and record["method"]["sender_order"] == "descending"
    verified = acdc("verify", "r", "--json").json
    assert verified["faithfulness"] == done.json["faithfulness"]


def test_nodes_on_the_command_line(acdc, tmp_path):
    done = acdc("discover", "--task", "induction", "--limit", "8", "--level", "nodes", "--out", "r")
    assert done.code == 0 and "nodes" in done.out.splitlines()[0]
    first = json.loads((tmp_path / "r/decisions.jsonl").read_text().splitlines()[0])
    assert set(first) == {"node", "before", "after", "kept"} and first["node"] == "m3"
    assert "<h2>Nodes</h2>" in (tmp_path / "r/report.html").read_text()
