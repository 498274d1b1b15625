"""Pictures of circuits by position: every edge between its nodes, none through another node, no text over text."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from circuits import SMALL, positional_circuit, quick_report, random_circuit

from acdc.artefacts.verification.examples import Example, Examples
from acdc.errors import InputError
from acdc.options import Colouring, Detail, Legend
from acdc.render import dot, svg
from acdc.render.by_span import draw_by_span
from acdc.render.graphviz import to_picture
from acdc.render.look import Look
from acdc.render.report import to_html
from acdc.render.scale import Size
from acdc.render.shapes import Line, Rectangle, Text
from acdc.render.views import draw

SHARED = SMALL | {"n_kv_heads": 2}
DEEP = SMALL | {"n_layers": 12, "n_heads": 2, "n_kv_heads": 2}
SHAPES = {"small": SMALL, "shared slots": SHARED, "deep": DEEP}


def along(line: Line, steps: int = 24):
    """Points on a line."""
    for i in range(0, len(line.points) - 1, 3):
        a, b, c, d = line.points[i : i + 4]
        for step in range(steps + 1):
            t = step / steps
            yield tuple(
                (1 - t) ** 3 * p + 3 * (1 - t) ** 2 * t * q + 3 * (1 - t) * t**2 * r + t**3 * s
                for p, q, r, s in zip(a, b, c, d, strict=True)
            )


def inside(point, box, by: float = 0.0) -> bool:
    return abs(point[0] - box.x) < box.width / 2 + by and abs(point[1] - box.y) < box.height / 2 + by


@pytest.mark.parametrize("count", [0, 1, 60, 300])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_edge_is_drawn_between_nodes_of_the_circuit(shape, count):
    circuit = positional_circuit(count, shape)
    picture = draw_by_span(circuit)
    assert {link.edge for link in picture.links} == {edge.id for edge in circuit.positions}
    ends = {end for link in picture.links for end in (link.source, link.target)}
    assert {node.id for node in picture.nodes} == ends
    writing = {edge.id.split("->")[0] for edge in circuit.positions}
    assert {id for id in ends if not id.startswith("logits")} == writing, "what only shares a slot is not drawn"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_no_edge_runs_through_a_node(shape):
    picture = draw_by_span(positional_circuit(200, shape))
    boxes = {node.id: node.outline.box for node in picture.nodes}
    assert len(picture.links) > 20
    for link in picture.links:
        others = [box for id, box in boxes.items() if id not in (link.source, link.target)]
        for point in along(link.line):
            assert not any(inside(point, box, by=-0.5) for box in others), link.edge


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_texts_are_readable_and_apart(shape):
    picture = draw_by_span(positional_circuit(200, shape))
    texts = [shape for shape in picture.behind if isinstance(shape, Text)] + [node.label for node in picture.nodes]
    assert min(text.size for text in texts) * 0.86 >= 10, "also where a page makes the picture smaller"
    boxes = []
    for text in texts:
        width = 0.62 * text.size * len(text.text)
        left = text.x - width / 2 if text.centred else text.x
        boxes.append((left, text.y - text.size, left + width, text.y, text.text))
        assert left >= 0 and left + width <= picture.width and text.y <= picture.height
    for place, a in enumerate(boxes):
        for b in boxes[place + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    nodes = [node.outline.box for node in picture.nodes]
    for place, box in enumerate(nodes):
        assert not any(
            abs(box.x - o.x) < box.width / 2 + o.width / 2 and abs(box.y - o.y) < 28 for o in nodes[place + 1 :]
        )


def column_names(picture) -> list[tuple[str, float]]:
    columns = [shape.box for shape in picture.behind if isinstance(shape, Rectangle)]
    top = min(box.y - box.height / 2 for box in columns)
    names = [shape.text for shape in picture.behind if isinstance(shape, Text) and abs(shape.y - top - 20) < 1]
    return list(zip(names, [box.width for box in columns], strict=True))


def test_spans_are_in_order_and_empty_ones_narrow():
    """What no span covers has no place in the order: it stands last, hatched."""
    picture = draw_by_span(positional_circuit(200))
    columns = column_names(picture)
    assert [name for name, _ in columns] == ["A", "B", "C", "end", "rest"]
    assert sum(isinstance(shape, Rectangle) and shape.dash == "dashed" for shape in picture.behind) == 1
    assert dict(columns)["C"] == min(width for _, width in columns)


def test_neighbouring_positions_without_nodes_share_a_column():
    circuit = positional_circuit(1, names=tuple(map(str, range(16))), named=False)
    names = [name for name, _ in column_names(draw_by_span(circuit))]
    assert names == ["0 \u2026 14", "15"]
    there = {at.split("@")[1] for edge in positional_circuit(30).positions for at in edge.id.split("->")}
    assert there <= {name for name, _ in column_names(draw_by_span(positional_circuit(30)))}


def test_of_many_edges_the_strongest_are_drawn_and_the_picture_says_so():
    circuit = positional_circuit(300)
    picture = draw_by_span(circuit, 10)
    strongest = sorted(circuit.positions, key=lambda edge: -abs(edge.score))[:10]
    assert {link.edge for link in picture.links} == {edge.id for edge in strongest}
    assert "the 10 strongest are drawn" in svg.write(picture)


def test_a_width_and_a_legend_keep_the_positions():
    circuit = positional_circuit(60)
    picture = draw(circuit, Look(legend=Legend.none, title=False, colours=Colouring.score, names={"m1": "first"}))
    assert {link.edge for link in picture.links} == {edge.id for edge in circuit.positions}
    assert picture.height < draw(circuit).height and "first" in {node.label.text for node in picture.nodes}
    sized = draw(circuit, Look(legend=Legend.below), Size(width=300))
    assert 'width="300mm"' in svg.write(sized) and all("@" in node.id for node in sized.nodes)
    with pytest.raises(InputError, match=r"needs a width of \d+ mm"):
        draw(circuit, Look(), Size(width=60))
    for look in (Look(landscape=True), Look(detail=Detail.full)):
        with pytest.raises(InputError, match="drawn by position"):
            draw(circuit, look)
    assert "positions left out" in svg.to_svg(circuit, Look(fixed=True))


def test_exports_are_by_position_unless_components_have_fixed_places():
    circuit = positional_circuit(60)
    assert svg.to_svg(circuit) == svg.write(draw_by_span(circuit)) and "@" in dot.to_dot(circuit)
    assert svg.to_svg(circuit) == svg.to_svg(positional_circuit(60)), "the same bytes"
    assert all("@" not in node.id for node in draw(circuit, Look(fixed=True)).nodes)
    plain, _ = random_circuit(20)
    assert all("@" not in node.id for node in draw(plain).nodes)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize(("format", "magic"), [("pdf", b"%PDF-"), ("png", b"\x89PNG\r\n")])
def test_graphviz_draws_circuits_by_position(tmp_path, format, magic):
    """With the nodes at their places in the picture by spans, and the same bytes each time."""
    circuit = positional_circuit(200)
    path = tmp_path / f"circuit.{format}"
    circuit.to_picture(path)
    assert path.read_bytes().startswith(magic) and path.read_bytes() == to_picture(positional_circuit(200), format)
    drawn = subprocess.run(
        ["dot", "-Kneato", "-n", "-Tplain"], input=dot.to_dot(circuit), text=True, capture_output=True
    )
    named = {line.split()[1].strip('"') for line in drawn.stdout.splitlines() if line.startswith("node ")}
    assert drawn.returncode == 0 and {node.id for node in draw_by_span(circuit).nodes} <= named


class Tokens(HTMLParser):
    """Attributes of all elements."""

    def __init__(self, text: str):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def examples_of(circuit, spans: list[str] | None) -> Examples:
    row = {"row": "r", "group": None, "start": 2, "length": 7, "clean": list("vwxyz"), "corrupted": None, "answer": 4}
    row |= {"correct": ["p"], "incorrect": [], "full": 1.0, "circuit": 0.5, "patterns": [], "spans": spans}
    return Examples(of="verification", metric=circuit.metric, heads=[], rows=[Example(**row)])


def spans_on(page: str) -> list[str]:
    found = [
        a["data-span"] for _, a in Tokens(page).found if "token" in a.get("class", "").split() and "data-span" in a
    ]
    return found[:5]


def test_the_report_has_both_views_and_says_the_span_of_each_token():
    circuit = positional_circuit(60)
    examples = examples_of(circuit, ["A", "A", "rest", "B", "end"])
    page = to_html(circuit, quick_report(circuit), "acdc discover", examples=examples)
    ids = [attributes["id"] for _, attributes in Tokens(page).found if "id" in attributes]
    assert {"as-components", "as-positions", "by-position"} <= set(ids) and len(ids) == len(set(ids))
    assert spans_on(page) == ["A", "A", "rest", "B", "end"]
    names = set(re.findall(r'data-edge="([^"]*)"', page))
    assert len(names) == len(circuit.positions)
    without = to_html(circuit, quick_report(circuit), "acdc discover", examples=examples_of(circuit, None))
    assert spans_on(without) == [] and "read-note quiet" not in without


def test_positions_need_no_spans_in_the_examples():
    circuit = positional_circuit(60, names=tuple(map(str, range(7))), named=False)
    page = to_html(circuit, quick_report(circuit), "acdc discover", examples=examples_of(circuit, None))
    assert spans_on(page) == ["2", "3", "4", "5", "6"]


def test_other_circuits_have_one_view():
    circuit, _ = random_circuit(20)
    page = to_html(circuit, quick_report(circuit), "acdc discover")
    assert not {"views", "by-position"} & {attributes.get("id") for _, attributes in Tokens(page).found}
