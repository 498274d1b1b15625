"""Data frames, tables of edges, circuits written by hand, and figures of matplotlib."""

import io
import sys

import pytest
import torch

import acdc
from acdc.artefacts.circuit import Circuit
from acdc.errors import AcdcWarning, InputError
from acdc.graph import Edge
from acdc.render.figure import draw_on

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
EDGES = ["input->a1.h0<k>", "a1.h0->a2.h1<q>", "input->a2.h1<v>", "a2.h1->logits", "input->m0", "m0->logits"]


@pytest.fixture(scope="module")
def found(trio, induction):
    return acdc.discover(trio, induction, method="eap", edges=12, limit=8)


def test_edges_as_rows(found):
    table, circuit = found.circuit.to_dataframe(), found.circuit
    assert table["edge"].tolist() == [edge.id for edge in circuit.edges]
    assert table["score"].tolist() == [edge.score for edge in circuit.edges]
    for row in table.itertuples():
        edge = Edge.parse(row.edge)
        assert (row.writer, row.reader, row.kind) == (edge.writer.id, edge.reader.id, edge.reader.kind.value)
        assert row.writer_layer == edge.writer.layer and row.effective
        assert row.reader_layer == (4 if row.reader == "logits" else edge.reader.layer)


def test_scores_and_decisions_as_rows(trio, induction, found):
    table = found.to_dataframe()
    assert dict(zip(table["edge"], table["score"], strict=True)) == found.scores
    assert set(table["edge"][table["kept"]]) == {edge.id for edge in found.circuit.edges}
    tested = acdc.discover(trio, induction, method="acdc", threshold=5.0, limit=2)
    rows = tested.to_dataframe()
    assert rows["edge"].tolist() == [one.candidate for one in tested.decisions]
    assert rows["kept"].tolist() == [one.kept for one in tested.decisions]


def discovery_mean(model, task, rows):
    """The metric logit_diff of the plain model, by TransformerLens and indexing."""
    found = []
    for row in task.rows[:rows]:
        logits = model.bridge(torch.tensor([row.clean]))[0, row.answer_position]
        found.append(logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean())
    return float(sum(found) / rows)


def test_scores_of_acdc_have_the_sign_of_the_metric(trio, induction):
    """The first edge into the logits is tested in the whole model: what `before` says is the metric there."""
    found = acdc.discover(trio, induction, method="acdc", threshold=5.0, limit=2)
    rows, kept = found.to_dataframe(), found.circuit.to_dataframe().set_index("edge")["score"]
    assert rows["before"][0] == pytest.approx(discovery_mean(trio, induction, 2))
    of_tests = rows[rows["kept"]].set_index("edge")["score"]
    assert of_tests.to_dict() == kept.to_dict() and (rows["score"] == rows["after"] - rows["before"]).all()
    matched = acdc.discover(trio, induction, method="acdc", threshold=5.0, limit=2, objective="match").to_dataframe()
    assert matched.columns[-2:].tolist() == ["objective_before", "objective_after"]


@pytest.mark.parametrize("level", ["nodes", "neurons", "positions"])
def test_circuits_of_other_units_have_a_row_for_each(trio, induction, level):
    found = acdc.discover(trio, induction, method="eap", level=level, edges=40, limit=4)
    table, edges = found.circuit.to_dataframe(), found.circuit.to_dataframe("edges")
    assert len(table) == len(found.circuit) == found.circuit.size
    assert table.iloc[:, 0].tolist() == [unit.id for unit in found.circuit.members]
    assert edges["edge"].tolist() == [edge.id for edge in found.circuit.edges]
    assert edges["score"].isna().all() == (level != "positions")  # no method gave edges between components a score
    assert found.circuit.units.plural in repr(found.circuit) and str(found.circuit) == repr(found.circuit)
    if level == "nodes":
        every = found.to_dataframe().set_index("unit")
        assert every.loc["input", "kept"] and every["kept"].sum() == len(found.circuit) + 1


def test_a_verification_as_rows(trio, induction, found):
    report = acdc.verify(trio, induction, found.circuit, rows=16)
    measures = report.to_dataframe().set_index("metric")
    assert measures.loc["logit_diff", "faithfulness"] == report.faithfulness
    assert report.to_dataframe("removals")["change"].tolist() == [removal.change for removal in report.removals]
    with pytest.raises(InputError, match="full verification"):
        report.to_dataframe("tests")
    with pytest.raises(InputError, match="measures, removals"):
        report.to_dataframe("edges")


def test_without_pandas(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="data frames need pandas"):
        found.circuit.to_dataframe()


def test_a_circuit_written_by_hand(trio, induction):
    circuit = Circuit.of(trio, induction, EDGES, limit=8)
    assert {edge.id for edge in circuit.effective} == set(EDGES) and circuit.metric == induction.metric
    assert len(circuit.task.discovery) == 8 and not set(circuit.task.discovery) & set(circuit.task.verification)
    report = acdc.verify(trio, induction, circuit, extent="quick", rows=8)
    assert report.rows == 8 and report.edges == len(EDGES)
    with pytest.raises(InputError, match="a9"):
        Circuit.of(trio, induction, ["a9.h0->logits"])
    with pytest.raises(InputError, match="given twice"):
        Circuit.of(trio, induction, [EDGES[0]] * 2)
    with pytest.raises(InputError, match="no such setting"):
        Circuit.of(trio, induction, EDGES, colour="red")
    with pytest.raises(InputError, match="give an id such as"):
        Circuit.of(trio, induction, [3])


def test_edges_are_given_with_their_scores_or_as_pairs(trio, induction, found):
    again = Circuit.of(trio, induction, found.circuit.edges, limit=8)
    assert again.edges == found.circuit.edges and "by hand" in repr(again) and "by hand" in again.sign_convention
    pairs = [tuple(edge.id.split("->")) for edge in found.circuit.edges]
    assert [edge.id for edge in Circuit.of(trio, induction, pairs).edges] == [edge.id for edge in again.edges]
    scores = {edge.id: edge.score for edge in found.circuit.edges}
    assert Circuit.of(trio, induction, scores, limit=8) == again
    assert again.score("->".join(pairs[0])) == found.circuit.edges[0].score
    with pytest.raises(InputError, match="not in the circuit"):
        again.score("a9.h9->logits")
    with pytest.warns(AcdcWarning, match="form no path"):
        empty = Circuit.of(trio, induction, ["m3->logits"])
    assert len(empty) == 0 and empty


def test_edges_from_a_file_are_verified(acdc, tmp_path):
    (tmp_path / "mine.txt").write_text("\n".join(EDGES) + "\n")
    words = ("--model", "trio", "--task", "induction")
    done = acdc("verify", "mine", "--edges", "mine.txt", *words, "--verify", "quick")
    assert done.code == 0 and f"{len(EDGES)} of 479 edges" in done.out and "all tables: acdc show mine" in done.out
    assert acdc("verify", "--edges", "mine.txt").code == 2
    assert "RUN is missing" in acdc("verify").err
    (tmp_path / "bad.txt").write_text("edge,score\na1.h0->logits,x\n")
    bad = acdc("verify", "--edges", "bad.txt", *words)
    assert bad.code == 2 and "bad.txt, line 2" in bad.err


def test_tables_there_and_back(acdc, tmp_path):
    words = ("discover", "--task", "induction", "--limit", 8, "--method", "eap", "--edges", 12, "--verify", "none")
    assert acdc(*words, "--out", "r").code == 0
    for format in ("csv", "parquet"):
        assert acdc("export", "r", "--format", format, "--out", f"tables/edges.{format}").code == 0
    table = pandas.read_csv(tmp_path / "tables/edges.csv")
    pandas.testing.assert_frame_equal(table, pandas.read_parquet(tmp_path / "tables/edges.parquet"))
    circuit = Circuit.load(tmp_path / "r")
    assert set(table["edge"][table["kept"] == "yes"]) == {edge.id for edge in circuit.edges} and len(table) == 479
    back = ("import", "tables/edges.csv", "--format", "csv", "--task", "induction", "--limit", 8, "--verify", "none")
    assert acdc(*back, "--out", "back").code == 0
    again = {edge.id: edge.score for edge in Circuit.load(tmp_path / "back").edges}
    assert again == {edge.id: edge.score for edge in circuit.edges}


def test_a_figure_needs_matplotlib(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="plot\\(\\) needs matplotlib"):
        found.circuit.plot()


def test_a_figure_has_every_node(found):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    axes, picture = found.circuit.plot(legend="none"), acdc.draw(found.circuit, legend="none")
    assert {text.get_text() for text in axes.texts} >= {node.label.text for node in picture.nodes}
    curves = [patch for patch in axes.patches if type(patch).__name__ == "PathPatch"]
    assert len(curves) >= len(picture.links) and axes.get_xlim() == (0, picture.width)
    out = io.BytesIO()
    draw_on(picture).figure.savefig(out, format="png")
    assert out.getvalue().startswith(b"\x89PNG")
