"""Pictures for papers: layers to the right, legends, titles, colours, sizes and pages; summaries of many edges."""

import math
import re
import shutil
import subprocess
from xml.etree import ElementTree

import networkx as nx
import pytest
from circuits import SMALL, random_circuit

import acdc
from acdc.errors import InputError
from acdc.graph import Edge
from acdc.options import Colouring, Detail, Legend, Page
from acdc.render.diagram import build_diagram
from acdc.render.layout import lay_out
from acdc.render.look import Look
from acdc.render.scale import Size
from acdc.render.shapes import Line, Text
from acdc.render.strongest import strongest_paths
from acdc.render.style import score_colour
from acdc.render.summary import weights
from acdc.render.svg import to_svg, write
from acdc.render.views import draw

SVG = "{http://www.w3.org/2000/svg}"
DEEP = SMALL | {"n_layers": 30, "n_heads": 4, "n_kv_heads": 2}


def words(picture) -> set[str]:
    return {shape.text for shape in picture.behind if isinstance(shape, Text)} | {n.label.text for n in picture.nodes}


@pytest.mark.parametrize("shape", [SMALL, SMALL | {"n_kv_heads": 2}, DEEP])
def test_landscape_is_the_same_circuit_to_the_right(shape):
    circuit, _ = random_circuit(60, shape)
    upright, turned = draw(circuit), draw(circuit, Look(landscape=True))
    assert {node.id for node in upright.nodes} == {node.id for node in turned.nodes}
    assert sorted((link.source, link.target) for link in upright.links) == sorted(
        (link.source, link.target) for link in turned.links
    )
    boxes = {node.id: node.outline.box for node in turned.nodes}
    for link in turned.links:
        (x, y), (_, cy) = link.line.points[-1], link.line.points[-2]
        box = boxes[link.target]
        assert x + link.line.head == pytest.approx(box.x - box.width / 2, abs=0.1), "it ends at the left side"
        assert cy == y and abs(y - box.y) <= box.height / 2 and link.line.points[0][0] < x
    rows = sorted((box.x, box.y - box.height / 2, box.y + box.height / 2) for box in boxes.values())
    for (x, _, bottom), (other, top, _) in zip(rows, rows[1:], strict=False):
        assert x != other or bottom < top, "no node covers another"
    assert all(box.width >= 7.6 * 2 + 14 for box in boxes.values()) and turned.width > turned.height


def test_legend_and_title():
    circuit, _ = random_circuit(40)
    right, below, none = (draw(circuit, Look(legend=place)) for place in Legend)
    assert words(right) == words(below) and "into a query" in words(right)
    assert below.width < right.width and below.height > right.height
    assert "into a query" not in words(none) and none.width < right.width
    for shape in below.behind:
        if isinstance(shape, Text):
            assert shape.x + 7 * len(shape.text) < below.width + 60 and shape.y < below.height
    bare = draw(circuit, Look(title=False))
    assert right.heading in words(right) - words(bare) and bare.height < right.height


def test_colours_of_scores():
    circuit, _ = random_circuit(40)
    picture = draw(circuit, Look(colours=Colouring.score))
    largest = max(abs(edge.score) for edge in circuit.links)
    expected = sorted(score_colour(edge.score, largest, signed=True) for edge in circuit.links)
    assert sorted(link.line.colour for link in picture.links) == expected
    assert f"score {largest:+.3g}" in words(picture) and "into a query" not in words(picture)
    samples = {shape.colour for shape in picture.behind if isinstance(shape, Line)}
    assert score_colour(-largest, largest, signed=True) in samples


def test_sizes():
    circuit, _ = random_circuit(40)
    picture = draw(circuit, Look(legend=Legend.below))
    column = Size(width=130.0).of(picture)
    assert column.width == pytest.approx(130 / 25.4 * 72)
    factor = column.width / picture.width
    assert column.height == pytest.approx(factor * picture.height)
    assert column.links[0].line.points[0][0] == pytest.approx(factor * picture.links[0].line.points[0][0])
    assert Size(font_size=9).of(picture).nodes[0].label.size == pytest.approx(9)
    assert ElementTree.fromstring(write(column)) is not None
    paged = Size(page=Page.a4).of(picture)
    short, long = sorted((paged.width, paged.height))
    assert short <= 180 / 25.4 * 72 + 1e-6 and long <= 267 / 25.4 * 72 + 1e-6
    with pytest.raises(InputError, match="give one of them"):
        Size(width=85, font_size=9)
    with pytest.raises(InputError, match="labels of .* points"):
        Size(width=20).of(picture)
    with pytest.raises(InputError, match="between 20 and 2000"):
        Size(width=3)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_a_column_is_as_wide_as_asked_for_with_its_labels(tmp_path):
    """The page of a PDF, the SVG's length, and a label's size by the drawing's: read from the files themselves."""
    circuit, _ = random_circuit(40)
    look = {"legend": "below", "width": 120}
    circuit.to_picture(tmp_path / "c.pdf", **look)
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", (tmp_path / "c.pdf").read_bytes())
    assert float(box[1]) == pytest.approx(120 / 25.4 * 72, abs=1)
    circuit.to_picture(tmp_path / "c.svg", **look)
    assert ElementTree.parse(tmp_path / "c.svg").getroot().get("width") == "120mm"
    circuit.to_picture(tmp_path / "c.dot", **look)
    drawn = subprocess.run(["dot", "-Tsvg"], input=(tmp_path / "c.dot").read_bytes(), capture_output=True, check=True)
    factor = 120 / 25.4 * 72 / draw(circuit, Look(legend=Legend.below)).width
    names = {node.label.text for node in draw(circuit).nodes} - {"logits"}  # which the legend has too
    texts = [text for text in ElementTree.fromstring(drawn.stdout).iter(f"{SVG}text") if text.text in names]
    assert len(texts) == len(names)
    assert {round(float(text.get("font-size")), 1) for text in texts} == {round(13 * factor, 1)}


def test_a_summary_fits_a_column():
    circuit, _ = random_circuit(300, DEEP)
    column = draw(circuit, Look(), Size(width=85))
    assert column.width == pytest.approx(85 / 25.4 * 72)
    sizes = [shape.size for shape in column.behind if isinstance(shape, Text)]
    assert min([*sizes, *(node.label.size for node in column.nodes)]) >= 5
    assert any("strongest paths" in text for text in words(column))


def test_layers_that_are_left_out_are_said():
    circuit, _ = random_circuit(7, DEEP)
    kept = {Edge.parse(edge.id).writer.layer for edge in circuit.links} - {-1}
    assert kept == {13, 14}
    assert {"layers 0 to 12 left out", "layers 15 to 29 left out"} <= words(draw(circuit))
    assert "layers 0 to 12 left out" in words(draw(circuit, Look(landscape=True)))


def test_many_edges_are_a_summary():
    circuit, _ = random_circuit(300, DEEP)
    picture = draw(circuit)
    assert picture == draw(circuit, Look(detail=Detail.summary)) and picture.width < 1600 and picture.height < 2000
    shown = {shape.tooltip for shape in picture.behind if getattr(shape, "tooltip", "")}
    total: dict[str, float] = {}
    for edge in circuit.links:
        total[Edge.parse(edge.id).writer.id] = total.get(Edge.parse(edge.id).writer.id, 0.0) + abs(edge.score)
    assert weights(circuit) == pytest.approx(total)
    inside = {name: value for name, value in total.items() if name != "input"}
    assert {f"{name}: {value:.4g}" for name, value in inside.items()} <= shown
    assert sum("not in the circuit" in text for text in shown) == 30 * 5 - len(inside)
    assert len(draw(circuit, Look(detail=Detail.full)).links) >= len(circuit.links)
    few, _ = random_circuit(40)
    assert draw(few) == draw(few, Look(detail=Detail.full))
    assert to_svg(circuit) == to_svg(circuit)


@pytest.mark.parametrize("shape", [SMALL, SMALL | {"n_kv_heads": 2}, DEEP])
def test_strongest_paths_are_those_of_brute_force(shape):
    circuit, _ = random_circuit(40, shape)
    flow, sizes = nx.MultiDiGraph(), {edge.id: abs(edge.score) for edge in circuit.links}
    for name in sizes:
        edge = Edge.parse(name)
        for target in [owner.id for owner in circuit.graph.owners(edge.reader)] or ["logits"]:
            flow.add_edge(edge.writer.id, target, name)
    every = [[name for *_, name in path] for path in nx.all_simple_edge_paths(flow, "input", "logits")]
    order = sorted((sorted(sizes[name] for name in path) + [math.inf] for path in every), reverse=True)
    found = strongest_paths(circuit, 10)
    assert [list(path.order) for path in found] == order[:10]
    assert found[0].text.startswith("input \u2192 ") and found[0].text.endswith(" \u2192 logits")


def test_names_stand_in_the_place_of_ids():
    circuit, _ = random_circuit(40)
    head = next(node.id for node in draw(circuit).nodes if node.id.startswith("a"))
    picture = acdc.draw(circuit, names={head: "mover & <b>"})
    assert "mover & <b>" in words(picture) and head not in words(picture)
    assert "mover &amp; &lt;b&gt;" in write(picture)
    wide = next(node.outline.box.width for node in picture.nodes if node.id == head)
    assert wide >= 7.6 * len("mover & <b>")


def test_what_does_not_go_together():
    circuit, _ = random_circuit(10)
    with pytest.raises(InputError, match="do not go together"):
        acdc.draw(circuit, fixed=True, landscape=True)
    with pytest.raises(InputError, match="right, below, none"):
        acdc.draw(circuit, legend="left")
    assert lay_out(build_diagram(circuit), turned=True).turned
