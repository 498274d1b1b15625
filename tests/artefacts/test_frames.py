"""Data frames, tables of edges, circuits written by hand, and figures of matplotlib."""

import io
import sys

import pytest

import acdc
from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
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
    assert dict(zip(table["candidate"], table["score"], strict=True)) == found.scores
    assert set(table["candidate"][table["kept"]]) == {edge.id for edge in found.circuit.edges}
    tested = acdc.discover(trio, induction, method="acdc", threshold=5.0, limit=2)
    rows = tested.to_dataframe()
    assert rows["candidate"].tolist() == [one.candidate for one in tested.decisions]
    assert rows["kept"].tolist() == [one.kept for one in tested.decisions]


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
