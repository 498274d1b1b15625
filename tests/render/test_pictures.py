"""Pictures: everything in them, nothing outside them, and the same bytes every time."""

import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest

import acdc
from acdc.artefacts.circuit import Circuit, ScoredEdge
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph
from acdc.options import Detail
from acdc.render import graphviz
from acdc.render.diagram import build_diagram
from acdc.render.dot import to_dot
from acdc.render.graphviz import to_picture
from acdc.render.layout import CROWDED_GAP, NODE_GAP, lay_out
from acdc.render.look import Look, choose_look
from acdc.render.style import READABLE
from acdc.render.svg import to_svg
from acdc.render.views import draw
from acdc.verification.baselines import of_size

SVG = "{http://www.w3.org/2000/svg}"
FULL = Look(detail=Detail.full)


@pytest.fixture(scope="module")
def base(trio, induction) -> Circuit:
    return acdc.discover(trio, induction, method="random", edges=10, limit=4).circuit


def circuit_of(base: Circuit, n: int, kv_heads: int = 4, layers: int = 4, heads: int = 4, seed: int = 0) -> Circuit:
    """A circuit of about n random edges, none of them dangling, in a model of the given shape."""
    shape = {**base.model.anatomy, "n_kv_heads": kv_heads, "n_layers": layers, "n_heads": heads}
    graph = ComponentGraph(Anatomy(**shape))
    generator = np.random.default_rng(seed)
    kept = of_size(graph, n, generator)
    edges = [ScoredEdge(id=graph.edges[i].id, score=float(generator.normal())) for i in np.flatnonzero(kept)]
    model = base.model.model_copy(update={"anatomy": shape})
    sizes = {"edges_total": graph.n_edges, "edges_effective": int(graph.prune(kept).sum())}
    return with_changes(base, model=model, edges=edges, **sizes)


def with_changes(circuit: Circuit, **changes) -> Circuit:
    """The same with other contents; `model_copy` would keep what was computed from the old ones."""
    return Circuit(**{name: getattr(circuit, name) for name in Circuit.model_fields} | changes)


SHAPES = [(12, 4, 4, 4), (200, 4, 4, 4), (200, 2, 4, 4), (2000, 12, 12, 12)]


@pytest.fixture
def dot():
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is not installed")


@pytest.mark.parametrize(("n", "kv", "layers", "heads"), SHAPES)
def test_svg_shows_every_edge_and_node(base, n, kv, layers, heads):
    circuit = circuit_of(base, n, kv, layers, heads)
    text = to_svg(circuit, FULL)
    root = ElementTree.fromstring(text)
    titles = [element.text for element in root.iter(f"{SVG}title")]
    for edge in circuit.effective:
        assert f"{edge.id}: {edge.score:+.4g}" in titles
    labels = {element.text for element in root.iter(f"{SVG}text")}
    assert {node.label for node in build_diagram(circuit).nodes} <= labels
    assert {"attention head", "MLP", "embedding", "logits", "into a query", "into a key", "into a value"} <= labels
    assert text == to_svg(circuit, FULL)


@pytest.mark.parametrize(("n", "kv", "layers", "heads"), SHAPES)
def test_layout_has_room_and_flows_down(base, n, kv, layers, heads):
    diagram = build_diagram(circuit_of(base, n, kv, layers, heads))
    layout, gap = lay_out(diagram), CROWDED_GAP if diagram.is_crowded else NODE_GAP
    rows = {}
    for box in [*layout.boxes.values(), *layout.trunks.values()]:
        rows.setdefault(box.y, []).append((box.x - box.width / 2, box.x + box.width / 2))
        assert box.x - box.width / 2 >= -0.2 and box.x + box.width / 2 <= layout.width + 0.2
    for spans in rows.values():
        spans.sort()
        assert all(b[0] - a[1] >= gap - 0.3 for a, b in zip(spans, spans[1:], strict=False))
    for link in diagram.links:
        assert layout.boxes[link.source].y < layout.boxes[link.target].y


def test_strength_and_sign_are_drawn(base):
    graph = ComponentGraph(Anatomy(**base.model.anatomy))
    ids = ["input->m0", "m0->logits", "input->logits"]
    edges = [ScoredEdge(id=name, score=score) for name, score in zip(ids, (-4.0, -1.0, 2.0), strict=True)]
    circuit = with_changes(base, edges=edges, score_kind="effect", larger_is_better=True, edges_total=graph.n_edges)
    links = {link.tooltip.split(":")[0]: link for link in build_diagram(circuit).links}
    assert links[ids[0]].width > links[ids[2]].width > links[ids[1]].width
    dashes = [links[name].dash for name in ids]
    assert dashes == ["solid", "solid", "dashed"], "a larger metric without it: it works against"


def test_empty_circuit_has_a_picture(base):
    circuit = with_changes(base, edges=[], edges_effective=0)
    assert "no edges" in to_svg(circuit)
    assert ElementTree.fromstring(to_svg(circuit)) is not None
    assert "digraph" in to_dot(circuit)


def test_names_cannot_break_out(base):
    task = base.task.model_copy(update={"name": 'x"]<script>&'})
    circuit = with_changes(base, task=task)
    assert "<script>" not in to_svg(circuit)
    assert ElementTree.fromstring(to_svg(circuit)) is not None


@pytest.mark.parametrize(("n", "kv", "layers", "heads"), SHAPES)
def test_dot_is_read_by_graphviz(base, dot, n, kv, layers, heads):
    circuit = circuit_of(base, n, kv, layers, heads)
    drawn = subprocess.run(["dot", "-Tplain"], input=to_dot(circuit, FULL), text=True, capture_output=True, check=True)
    heights = {}
    for line in drawn.stdout.splitlines():
        if match := re.match(r'node "?([\w.<>]+)"? \S+ (\S+)', line):
            heights[match[1]] = float(match[2])
    for link in build_diagram(circuit).links:
        source, target = (name.replace("<", "_").replace(">", "") for name in (link.source, link.target))
        assert heights[source] > heights[target], "ranks run downwards"
    assert sum(line.startswith("edge ") for line in drawn.stdout.splitlines()) == len(build_diagram(circuit).links)


def test_graphviz_keeps_the_places(base, dot):
    """Every node is where the picture has it, to a hundredth of an inch."""
    picture = draw(circuit_of(base, 60))
    plain = ["dot", "-Tplain"]
    drawn = subprocess.run(plain, input=graphviz.dot.write(picture), text=True, capture_output=True, check=True)
    lines = [line.split() for line in drawn.stdout.splitlines()]
    found = {line[1].strip(chr(34)): (float(line[2]), float(line[3])) for line in lines if line[0] == "node"}
    width, height = float(lines[0][2]), float(lines[0][3])
    assert (width, height) == pytest.approx((picture.width / 72, picture.height / 72), abs=0.02)
    for node in picture.nodes:
        box = node.outline.box
        assert found[node.id] == pytest.approx((box.x / 72, height - box.y / 72), abs=0.02)


@pytest.mark.parametrize(("format", "magic"), [("pdf", b"%PDF-"), ("png", b"\x89PNG\r\n")])
def test_graphviz_writes_2000_edges(base, dot, tmp_path, format, magic):
    circuit = circuit_of(base, 2000, 12, 12, 12)
    assert len(circuit.links) > 1900
    path = tmp_path / f"picture.{format.upper()}"
    circuit.to_picture(path, detail="full")
    assert path.read_bytes().startswith(magic)
    small = circuit_of(base, 40)
    assert to_picture(small, format) == to_picture(small, format)
    if format == "pdf":
        assert set(re.findall(rb"/CreationDate \(D:(\d+)", path.read_bytes())) <= {b"19700101000000"}


def test_names_of_any_kind_reach_graphviz(base, dot):
    """What DOT or xdot would read as markup, and letters of more than one byte."""
    task = base.task.model_copy(update={"name": 'x"]; <b>&amp; \\" \\N "ü→'})
    circuit = with_changes(base, task=task)
    drawn = subprocess.run(["dot", "-Tsvg"], input=to_dot(circuit), text=True, capture_output=True, check=True)
    assert not drawn.stderr
    texts = [element.text for element in ElementTree.fromstring(drawn.stdout).iter(f"{SVG}text")]
    assert any('x"]; <b>' in text and text.endswith("edges") and "ü→" in text for text in texts), texts[:3]


def test_without_graphviz(base, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for format in ("pdf", "png"):
        with pytest.raises(InputError, match="install"):
            to_picture(base, format)
        with pytest.raises(InputError, match="install"):
            base.to_picture(tmp_path / f"x.{format}")
    base.to_picture(tmp_path / "x.svg")
    base.to_picture(tmp_path / "x.dot")
    assert (tmp_path / "x.svg").read_text() == to_svg(base) and (tmp_path / "x.dot").read_text() == base.to_dot()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.dot", "x.svg"]


def test_unknown_formats(base, tmp_path):
    for name in ("x", "x.jpeg", "x.svgz"):
        with pytest.raises(InputError, match="svg, .dot, .pdf, .png"):
            base.to_picture(tmp_path / name)
    with pytest.raises(InputError, match="formats"):
        to_picture(base, "jpeg")


def places(circuit: Circuit, look: Look) -> dict[str, tuple[float, float, float]]:
    return {n.id: (n.outline.box.x, n.outline.box.y, n.outline.box.width) for n in draw(circuit, look).nodes}


@pytest.mark.parametrize(("kv", "layers", "heads"), [(4, 4, 4), (2, 4, 4), (12, 12, 12)])
def test_fixed_places(base, kv, layers, heads):
    """Whatever the circuit: every component of the model is there, none covers another, and no lane crosses a box."""
    few, many = (circuit_of(base, n, kv, layers, heads, seed) for n, seed in ((9, 1), (320, 2)))
    where = places(few, Look(fixed=True))
    assert where == places(many, Look(fixed=True))
    assert {writer.id for writer in few.graph.writers} < set(where)
    rows = {}
    for x, y, width in where.values():
        rows.setdefault(y, []).append((x - width / 2, x + width / 2))
    for spans in rows.values():
        spans.sort()
        assert all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))
    lanes = [
        line for line in draw(many, Look(fixed=True)).behind if getattr(line, "tooltip", "").startswith("output of")
    ]
    assert lanes
    for line in lanes:
        lane = line.points[-1][0]
        assert all(x == lane for x, _ in line.points[3:]), "straight down"
        for (_, top), (_, bottom) in zip(line.points[3:-1], line.points[4:], strict=True):
            crossed = [spans for y, spans in rows.items() if top - 1 <= y <= bottom + 1]
            assert not any(left < lane < right for spans in crossed for left, right in spans)
    assert len({line.points[-1][0] for line in lanes}) == len(lanes), "one lane for each writer"


def test_roles_stand_together(base):
    circuit = circuit_of(base, 200)
    heads = [w.id for w in circuit.graph.writers if w.id.startswith("a")]
    targets = ("previous token", "induction", "itself")
    roles = {head: f"attends to: {targets[i % 3]}" for i, head in enumerate(heads) if i % 4}
    picture = draw(circuit, Look(roles=roles))
    drawn = {node.id: node.outline for node in picture.nodes}
    for layer in range(4):
        row = sorted((outline.box.x, name) for name, outline in drawn.items() if name.startswith(f"a{layer}."))
        found = [roles.get(name) for _, name in row]
        kept = [role for i, role in enumerate(found) if role and (i == 0 or found[i - 1] != role)]
        assert len(kept) == len(set(kept)), f"layer {layer}: {found}"
    fills = {role: {drawn[name].fill for name in drawn if roles.get(name) == role} for role in set(roles.values())}
    assert all(len(found) == 1 for found in fills.values()) and len(set(map(str, fills.values()))) == 3
    words = {element.text for element in ElementTree.fromstring(to_svg(circuit, Look(roles=roles))).iter(f"{SVG}text")}
    assert set(roles.values()) | set(targets) <= words
    assert places(circuit, Look(True, roles)) == places(circuit, Look(True)), "colour alone, where places are fixed"


def test_roles_need_an_audit(trio, induction, base):
    with pytest.raises(InputError, match="acdc verify"):
        choose_look(base, group="role")
    with pytest.raises(InputError, match="acdc verify"):
        choose_look(base, group="role", report=acdc.verify(trio, induction, base))
    with pytest.raises(InputError, match="layer, role"):
        choose_look(base, group="kind")


def test_too_many_edges_are_drawn_with_advice(base):
    assert "followed one by one" not in to_svg(circuit_of(base, 200), FULL)
    circuit = circuit_of(base, 2000, 12, 12, 12)
    assert f"{len(circuit.links):,} edges are more than" in to_svg(circuit, FULL) and "--edges 300" in to_svg(
        circuit, FULL
    )
    decided = with_changes(circuit, method=circuit.method.model_copy(update={"objective": "neg_logit_diff"}))
    threshold = float(re.search(r"--threshold ([\d.e-]+)", to_svg(decided, FULL))[1])
    strong = sum(abs(edge.score) >= threshold for edge in circuit.links)
    assert strong == pytest.approx(READABLE, rel=0.1)
