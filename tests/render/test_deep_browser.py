"""Deep models in headless Chromium: labels and edges that can be read, and a summary of large circuits."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from circuits import SMALL, quick_report, random_circuit

from acdc.artefacts.verification.examples import Example, Examples
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.mechanism import ATTENDS, DUPLICATE, PREVIOUS, Attention, HeadHint
from acdc.graph import Edge, WriterKind
from acdc.render.report import to_html

DEEP = SMALL | {"n_layers": 30, "n_heads": 4, "n_kv_heads": 2}
SMALLEST = """() => {
    const seen = text => !text.closest(".ghost") && getComputedStyle(text).display !== "none";
    const texts = [...document.querySelectorAll("#graph text")].filter(seen);
    return Math.min(...texts.map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a));
}"""


def deep_page(show, edges: int, shape: dict = DEEP, report=None, examples=None, **options):
    circuit, scores = random_circuit(edges, shape)
    text = to_html(circuit, report or quick_report(circuit), "acdc discover", scores, examples)
    return circuit, show(text, **options)


def layers_of(circuit) -> set[int]:
    writers = {Edge.parse(edge.id).writer for edge in circuit.links}
    return {writer.layer for writer in writers if writer.layer >= 0}


def sampled(points: list[float], steps: int = 40) -> np.ndarray:
    """Places along joined cubic curves, [places, 2]."""
    places, t = np.array(points).reshape(-1, 2), np.linspace(0, 1, steps + 1)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3])
    return np.vstack([weights @ places[at : at + 4] for at in range(0, len(places) - 1, 3)])


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("edges", [40, 300])
def test_labels_can_be_read_at_first_and_at_fit(show, edges, width):
    """Fit has all of the picture in sight, and leaves out the labels that would be too small."""
    _, page = deep_page(show, edges, viewport={"width": width, "height": 900})
    page.click("#as-graph")
    assert page.evaluate(SMALLEST) >= 10 and page.is_visible("#more"), "the rest is a drag away"
    assert page.is_visible("#graph .node text")
    page.click("#fit")
    assert page.evaluate(SMALLEST) >= 10
    assert page.evaluate("document.documentElement.scrollWidth") == width
    frame = page.locator("#graph").bounding_box()
    for box in (node.bounding_box() for node in page.locator("#graph .node:not(.slot)").all()):
        assert frame["y"] <= box["y"] and box["y"] + box["height"] <= frame["y"] + frame["height"]
    assert not page.is_visible("#more") and page.locator("#graph .node text:visible").count() == 0
    page.click("#read")
    assert page.is_visible("#graph .node text")


def test_only_what_is_kept_takes_room(show):
    circuit, page = deep_page(show, 7)
    kept, bands = layers_of(circuit), page.locator("#graph .layer.none").all_text_contents()
    assert page.locator("#graph .node.ghost").count() == 0
    assert page.locator("#graph .layer:not(.none)").count() == len(kept) < 30
    assert sum(int(text.split()[0]) for text in bands) == 30 - len(kept)
    assert bands[0] == "13 layers without a part: layers 0 to 12"


@pytest.mark.parametrize(("edges", "shape"), [(120, DEEP), (90, SMALL), (60, SMALL | {"n_kv_heads": 2})])
def test_edges_go_round_the_nodes(show, edges, shape):
    circuit, page = deep_page(show, edges, shape)
    boxes, curves = page.evaluate("acdc.boxes()"), page.evaluate("acdc.curves()")
    assert len(curves) == len(circuit.links)
    drawn = set(page.eval_on_selector_all("#graph .node:not(.ghost)", "all => all.map(node => node.dataset.id)"))
    boxes = [box for box in boxes if box["id"] in drawn]
    for name, points in curves.items():
        own, way = ends_of(circuit, name), sampled(points)
        for box in boxes:
            if own & set(box["members"]):
                continue
            off = np.abs(way - [box["x"], box["y"]]) < [box["width"] / 2 - 1, box["height"] / 2 - 1]
            assert not off.all(axis=1).any(), f"{name} runs through {box['id']}"


def ends_of(circuit, name: str) -> set[str]:
    edge = Edge.parse(name)
    owners = {owner.id for owner in circuit.graph.owners(edge.reader)} or {"logits"}
    return {edge.writer.id, *owners, *({edge.reader.id} if edge.reader.shared else ())}


def test_edges_between_mlps_do_not_merge(show):
    circuit, page = deep_page(show, 450, SMALL | {"n_layers": 24, "n_heads": 1, "n_kv_heads": 1})
    page.click("#as-graph")
    page.select_option("#most", "1000")
    curves = page.evaluate("acdc.curves()")
    between = {
        e.id for e in circuit.links if Edge.parse(e.id).writer.kind is WriterKind.MLP and e.id.split("->")[1][0] == "m"
    }
    middles = [sampled(curves[name])[20] for name in sorted(between)]
    assert len(middles) > 20
    apart = [math.dist(one, other) for one, other in itertools.combinations(middles, 2)]
    assert min(apart) > 3, "each has a way of its own"


def test_many_edges_are_a_summary_first(show):
    circuit, page = deep_page(show, 300)
    assert page.is_visible("#summary") and not page.is_visible("#graph")
    weight: dict[str, float] = {}
    for edge in circuit.links:
        name = Edge.parse(edge.id).writer.id
        weight[name] = weight.get(name, 0.0) + abs(edge.score)
    said = page.eval_on_selector_all(".importance button", "all => all.map(b => b.title)")
    for text in said:
        name, rest = text.split(": summed |score| ")
        assert float(rest.split(",")[0]) == pytest.approx(weight.get(name, 0.0), rel=1e-3)
    assert {text.split(":")[0] for text in said} == {name for name in weight if name != "input"}
    page.click(".importance button[title^='m']")
    assert page.inner_text("#details h3").startswith("m")
    page.click("#summary .paths li button")
    assert page.is_visible("#graph") and not page.is_visible("#summary")
    assert page.inner_text("#details h3").startswith("input \u2192") and page.locator("#graph.tracing").count() == 1
    page.click("#as-summary")
    assert page.is_visible("#summary")


def test_of_many_edges_the_strongest_are_drawn_with_what_is_chosen(show):
    circuit, page = deep_page(show, 2000)
    page.click("#as-graph")
    strength = {edge.id: abs(edge.score) for edge in circuit.links}
    strongest = sorted(strength, key=lambda name: -strength[name])
    assert set(page.evaluate("acdc.curves()")) == set(strongest[:150])
    assert f"of the {len(strength):,} the diagram draws the 150 strongest" in page.inner_text("#readout")
    assert page.locator("#graph .edges .against").count() and set(page.evaluate("acdc.shown()")) == set(strength)
    page.fill("#search", strongest[-1])
    assert page.inner_text("#details h3") == strongest[-1] and strongest[-1] in page.evaluate("acdc.curves()")
    page.select_option("#most", "75")
    assert len(page.evaluate("acdc.curves()")) == 76, "and the chosen one"


def test_paths_say_the_sign_of_their_weakest_edge(show):
    circuit, page = deep_page(show, 300)
    scores = {edge.id: edge.score for edge in circuit.links}
    paths, buttons = page.evaluate("acdc.paths(8)"), page.locator("#summary .paths li button").all()
    assert len(paths) == len(buttons) == 8
    for path, button in zip(paths, buttons, strict=True):
        weakest = min((scores[name] for name in path), key=abs)
        assert button.inner_text().split()[-1].startswith("-+"[weakest > 0])
        assert ("against" in button.get_attribute("class")) == any(scores[name] > 0 for name in path)


def test_a_summary_is_printed_without_collisions(show):
    """On a page of A4's width, what follows the summary stands below all of it."""
    _, page = deep_page(show, 300, viewport={"width": 700, "height": 900})
    page.emulate_media(media="print")
    bottom = "name => document.querySelector(name).getBoundingClientRect().bottom"
    lowest = max(page.evaluate(bottom, f"#summary {part}") for part in (".map", ".paths"))
    assert lowest <= page.evaluate("document.querySelector('#legend').getBoundingClientRect().top")
    assert page.is_visible(".key") and not page.is_visible(".gestures") and not page.is_visible(".controls")


@pytest.mark.parametrize("shape", [SMALL, SMALL | {"n_kv_heads": 2}])
def test_the_strongest_paths_are_those_of_brute_force(show, shape):
    circuit, page = deep_page(show, 40, shape)
    flow, sizes = nx.MultiDiGraph(), {edge.id: abs(edge.score) for edge in circuit.links}
    for name in sizes:
        edge = Edge.parse(name)
        for target in [owner.id for owner in circuit.graph.owners(edge.reader)] or ["logits"]:
            flow.add_edge(edge.writer.id, target, name)
    every = [[name for *_, name in path] for path in nx.all_simple_edge_paths(flow, "input", "logits")]
    every.sort(key=lambda path: sorted(sizes[name] for name in path) + [math.inf], reverse=True)
    found = page.evaluate("acdc.paths(8)")
    strength = [sorted(sizes[name] for name in path) for path in found]
    assert strength == [sorted(sizes[name] for name in path) for path in every[:8]]


def hinted(circuit):
    """A verification that says what the circuit's heads do: those of even numbers one thing, others another."""
    heads = sorted({Edge.parse(e.id).writer for e in circuit.links if ".h" in e.id.split("->")[0]}, key=lambda h: h.id)
    shares = {PREVIOUS: 0.75, DUPLICATE: 0.125}
    hints = [
        HeadHint(
            id=head.id,
            adds=Interval(value=0.5, low=0.25, high=0.75),
            attention=Attention(everywhere=shares, answer=shares),
            label=f"{ATTENDS}{PREVIOUS if head.head % 2 == 0 else DUPLICATE}",
        )
        for head in heads
    ]
    whole = FullVerification(
        faithfulness=[], only_under=None, completeness=None, minimality=None, tests=[], over_sizes=None, groups=[],
        hints=hints, composition=[], failures=[], left_out={}, fewer_rows={},
    )  # fmt: skip
    return heads, quick_report(circuit).model_copy(update={"full_verification": whole})


def test_heads_and_layers_fold_and_unfold(show):
    circuit, _ = random_circuit(100, DEEP)
    heads, report = hinted(circuit)
    _, page = deep_page(show, 100, report=report)
    nodes = "document.querySelectorAll('#graph .node').length"
    before = page.evaluate(nodes)
    for mode, groups in {
        "kv": {f"a{head.layer}.kv{head.head // 2}" for head in heads},
        "role": {f"a{head.layer} {PREVIOUS if head.head % 2 == 0 else DUPLICATE}" for head in heads},
        "layer": {f"layer {layer}" for layer in layers_of(circuit)},
    }.items():
        page.select_option("#fold", mode)
        drawn = {box["id"] for box in page.evaluate("acdc.boxes()")}
        assert groups <= drawn and not any(head.id in drawn for head in heads)
        assert set(page.evaluate("acdc.shown()")) == {edge.id for edge in circuit.links}, "none is lost"
        assert page.evaluate(SMALLEST) >= 10
    several = next(box["id"] for box in page.evaluate("acdc.boxes()") if len(box["members"]) > 1)
    page.focus(f'[data-id="{several}"]')
    page.keyboard.press("Enter")
    assert page.inner_text("#details h3") == several
    page.get_by_role("button", name="Unfold", exact=True).click()
    assert several not in {box["id"] for box in page.evaluate("acdc.boxes()")}
    page.select_option("#fold", "none")
    assert page.evaluate(nodes) == before
    layer = sorted(layers_of(circuit))[0]
    page.focus(f'[data-layer="{layer}"]')
    page.keyboard.press("Enter")
    assert f"layer {layer}" in {box["id"] for box in page.evaluate("acdc.boxes()")}


def test_a_head_shows_what_verification_found(show):
    circuit, _ = random_circuit(60, SMALL)
    heads, report = hinted(circuit)
    pattern = [[1.0], [0.25, 0.75]]
    row = {"row": "r", "group": None, "start": 0, "length": 2, "clean": ["one", "two"], "corrupted": ["one", "six"]}
    row |= {"answer": 1, "correct": ["x"], "incorrect": ["y"], "full": 1.0, "circuit": 0.5, "patterns": [pattern]}
    names = {"of": "verification", "metric": "logit_diff", "heads": [heads[0].id]}
    _, page = deep_page(show, 60, SMALL, report, Examples(**names, rows=[Example(**row)]))
    page.click(f'[data-id="{heads[0].id}"]')
    said = page.inner_text("#details")
    assert "+0.5 [+0.25, +0.75] in logit_diff" in said and "previous token 75.0%" in said
    assert page.locator("#details .pattern canvas").count() == 1
    assert page.locator("#details .token").all_inner_texts() == ["one", "two"]
    assert "Into it" in said and "Out of it" in said
    page.click(f'[data-id="{heads[1].id}"]')
    assert "recorded of the 1 strongest head" in page.inner_text("#details")
    assert page.locator("#details .pattern").count() == 0, "nothing is invented"
