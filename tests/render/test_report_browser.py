"""The HTML report in headless Chromium: no error, no request, and every control does what it says."""

import json
from collections import defaultdict
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from circuits import GPT2, SMALL, quick_report, random_circuit, unverified

from acdc.artefacts.verification.examples import Example, Examples
from acdc.graph import ComponentGraph, Edge
from acdc.render.report import to_html


def page_of(edges: int, shape: dict = SMALL, scored: bool = True, **options) -> tuple:
    circuit, scores = random_circuit(edges, shape, **options)
    return circuit, scores, to_html(circuit, quick_report(circuit), "acdc discover", scores if scored else None)


def shown(page) -> set[str]:
    return set(page.evaluate("acdc.shown()"))


def drag_slider(page, place: float) -> float:
    """Set the slider to a share of its way, as a hand would; the threshold that it stands for."""
    page.evaluate(
        """place => { const slider = document.getElementById("threshold");
        slider.value = Math.round(place * slider.max);
        slider.dispatchEvent(new Event("input", {bubbles: true})); }""",
        place,
    )
    return float(page.input_value("#exact"))


@pytest.mark.parametrize("edges", [0, 1, 10, 200])
def test_every_size_opens(show, edges):
    circuit, _, text = page_of(edges)
    page = show(text)
    assert shown(page) == {edge.id for edge in circuit.links}
    assert f"{circuit.edges_effective} of {circuit.edges_total} edges" in page.inner_text("#readout")
    page.click("#as-graph")
    nodes = page.locator("#graph .node:not(.ghost)").count()
    assert nodes == len({Edge.parse(e.id).writer for e in circuit.links}) + bool(edges), "and the logits"


@pytest.mark.parametrize(
    "options",
    [
        {"shape": SMALL},
        {"shape": SMALL | {"n_kv_heads": 2}},
        {"shape": SMALL | {"attn_only": True}, "split_embeddings": True},
        {"shape": SMALL | {"n_kv_heads": 1, "parallel": True}, "direct_edges": True},
    ],
    ids=["heads", "shared slots", "attention only", "wires"],
)
def test_thresholds_prune_as_the_graph_does(show, options):
    circuit, scores, text = page_of(60, **options)
    page, graph = show(text), circuit.graph
    for threshold in [*np.quantile(np.abs(scores), [0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99]), np.abs(scores).max()]:
        expected = graph.ids(graph.prune(np.abs(scores) >= threshold))
        assert page.evaluate("t => acdc.kept(t)", threshold) == expected
    assert set(page.evaluate("acdc.kept(null)")) == {edge.id for edge in circuit.effective}


def test_the_slider_prunes_and_says_what_is_kept(show):
    circuit, scores, text = page_of(40)
    page, graph = show(text), circuit.graph
    counts = []
    for place in (0, 0.3, 0.6, 1):
        threshold = drag_slider(page, place)
        kept = graph.prune(np.abs(scores) >= threshold)
        assert shown(page) == set(graph.ids(kept))
        assert f"{kept.sum()} of {graph.n_edges} edges" in page.inner_text("#readout")
        counts.append(int(kept.sum()))
    assert counts == sorted(counts) and counts[-1] == graph.n_edges
    page.fill("#exact", "1.5")
    page.press("#exact", "Enter")
    assert shown(page) == set(graph.ids(graph.prune(np.abs(scores) >= 1.5)))
    page.click("#found")
    assert shown(page) == {edge.id for edge in circuit.edges}


def test_what_the_threshold_drops_is_counted_and_listed(show):
    circuit, scores, text = page_of(40)
    page = show(text)
    for place in (0.1, 0.2, 0.3, 0.4):
        threshold = drag_slider(page, place)
        reached = np.abs(scores) >= threshold
        kept = circuit.graph.prune(reached)
        lost = int(reached.sum() - kept.sum())
        said = f"{reached.sum()} reach the threshold, {lost} of them are on no path" in page.inner_text("#readout")
        assert said == (lost > 0)
        if lost:
            page.click("#dropped")
            assert f"({lost})" in page.inner_text("#details h3") and page.locator("#details li").count() == lost


def test_places_do_not_move_with_the_threshold(show):
    _, _, text = page_of(40)
    page = show(text)
    where = """[...document.querySelectorAll(".node rect")]
        .map(r => [r.parentNode.dataset.id, r.getAttribute("x"), r.getAttribute("y")]).sort()"""
    before = page.evaluate(where)
    drag_slider(page, 1)
    assert page.evaluate(where) == before


def test_without_scores_the_slider_goes_over_the_circuit(show):
    circuit, scores, text = page_of(40, scored=False)
    page, graph = show(text), circuit.graph
    threshold = drag_slider(page, 0.5)
    assert shown(page) == set(graph.ids(graph.prune(circuit.mask & (np.abs(scores) >= threshold))))
    assert "applies to the circuit's edges only" in page.inner_text("#legend")


def paths_through(graph: ComponentGraph, edges: list[str], component: str) -> set[str]:
    """All edges on paths into and out of a component, by networkx over components."""
    flow, between = nx.MultiDiGraph(), defaultdict(set)
    for name in edges:
        edge = Edge.parse(name)
        for target in [owner.id for owner in graph.owners(edge.reader)] or ["logits"]:
            flow.add_edge(edge.writer.id, target)
            between[edge.writer.id, target].add(name)
    before, after = nx.ancestors(flow, component) | {component}, nx.descendants(flow, component) | {component}
    ends = [e for e in between if set(e) <= before or set(e) <= after]
    return set().union(*(between[end] for end in ends))


def test_a_click_traces_all_paths_and_another_clears(show):
    circuit, _, text = page_of(60)
    page = show(text)
    writers = [Edge.parse(edge.id).writer for edge in circuit.edges]
    component = next(w.id for w in writers if w.layer == 2)
    page.click(f'[data-id="{component}"]')
    expected = paths_through(circuit.graph, [edge.id for edge in circuit.edges], component)
    assert f"{len(expected)} edges among" in page.inner_text("#details")
    assert page.locator(".node.faded:not(.ghost)").count() < page.locator(".node:not(.ghost)").count()
    ends = {Edge.parse(name).writer.id for name in expected}
    lit = page.eval_on_selector_all(".node:not(.faded):not(.ghost)", "nodes => nodes.map(n => n.dataset.id)")
    assert set(lit) == ends | {"logits", component}
    page.click(f'[data-id="{component}"]')
    assert page.locator("#graph.tracing").count() == 0
    page.click('[data-id="logits"]')
    assert f"{len(circuit.edges)} edges among" in page.inner_text("#details"), "all of a pruned circuit leads there"
    page.keyboard.press("Escape")
    assert page.locator("#graph.tracing").count() == 0


def test_an_edge_says_its_score_and_effect(show):
    circuit, _, text = page_of(40)
    page = show(text)
    strongest = max(circuit.edges, key=lambda edge: abs(edge.score))
    button = page.locator("#details li button").first
    assert strongest.id in button.inner_text()
    button.click()
    said = page.inner_text("#details")
    assert f"{abs(strongest.score):.4g}" in said and "removed alone: logit_diff" in said and "75% of rows" in said
    assert ("works against" in said) == (strongest.score > 0), "ablating it makes a metric larger that should be"
    page.evaluate("document.getElementById('graph').scrollIntoView({behavior: 'instant', block: 'center'})")
    place = page.evaluate(
        """() => { const path = document.querySelector("#graph .traced .edge");
        const middle = path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(path.getScreenCTM());
        return [middle.x, middle.y]; }"""
    )
    page.keyboard.press("Escape")
    page.mouse.move(*place)
    assert "score" in page.inner_text("#tip")


def test_search_finds_components_and_edges(show):
    circuit, _, text = page_of(40)
    page = show(text)
    edge = circuit.edges[-1].id
    component = Edge.parse(edge).writer.id
    page.fill("#search", component)
    assert page.inner_text("#search-status") == "found"
    assert page.inner_text("#details h3").startswith(component)
    box, frame = page.locator(f'[data-id="{component}"]').bounding_box(), page.locator("#graph").bounding_box()
    assert abs(box["x"] + box["width"] / 2 - frame["x"] - frame["width"] / 2) < 2, "it is in the middle"
    page.fill("#search", edge)
    assert page.inner_text("#details h3") == edge
    page.fill("#search", "a99.h1")
    assert page.inner_text("#search-status") == "no component or edge of that name"
    assert page.inner_text("#details h3").startswith("Strongest edges"), "what was found before is no longer chosen"
    absent = next(w.id for w in circuit.graph.writers[1:] if not any(w.id in e.id for e in circuit.edges))
    page.fill("#search", absent)
    assert page.inner_text("#search-status") == "not shown at this threshold"


def test_toggles_hide_kinds(show):
    circuit, _, text = page_of(60)
    page = show(text)
    for kind in ("q", "k", "v", "mlp", "logits"):
        page.uncheck(f'[data-kind="{kind}"]')
        left = {edge.id for edge in circuit.edges if Edge.parse(edge.id).reader.kind.value != kind}
        assert shown(page) == left and "hidden, not removed" in page.inner_text("#readout")
        page.check(f'[data-kind="{kind}"]')
    assert page.locator("#graph .edges .q").count() and page.locator("#graph .edges .against").count()


def test_edges_are_summed_by_layers(show):
    circuit, _, text = page_of(5000, GPT2)
    page = show(text)
    page.click("#as-heatmap")
    assert page.is_visible("#heatmap table") and not page.is_visible("#graph") and not page.is_visible("#summary")
    counts = page.eval_on_selector_all("#heatmap td button", "all => all.map(b => Number(b.textContent))")
    assert sum(counts) == len(circuit.edges)
    page.locator("#heatmap td button", has_text="3").first.click()
    assert "summed |score|" in page.inner_text("#details h3") and page.locator("#details li").count() >= 3
    page.locator("#heatmap td button[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('#heatmap') !== null")
    page.click("#as-graph")
    drag_slider(page, 0.7)
    assert page.is_visible("#graph") and 0 < len(shown(page)) <= 1500


def test_the_keyboard_reaches_all(show):
    circuit, _, text = page_of(20)
    page = show(text)
    reached = []
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(e => e.dataset.id ?? e.dataset.kind ?? e.id)(document.activeElement)"))
    controls = [
        "theme",
        "threshold",
        "exact",
        "found",
        "search",
        "q",
        "k",
        "v",
        "mlp",
        "logits",
        "fold",
        "graph",
        "as-summary",
        "as-graph",
        "fit",
    ]
    assert [name for name in controls if name not in reached] == []
    component = Edge.parse(circuit.edges[-1].id).writer.id
    assert component in reached
    page.focus(f'[data-id="{component}"]')
    assert component in page.inner_text("#tip")
    page.keyboard.press("Enter")
    assert page.inner_text("#details h3").startswith(component)
    page.keyboard.press("Escape")
    page.focus("#graph")
    where = "document.querySelector('#graph .root').getAttribute('transform')"
    views = [page.evaluate(where)]
    for key in ("ArrowLeft", "ArrowDown", "+", "-"):
        page.keyboard.press(key)
        views.append(page.evaluate(where))
    assert len(set(views)) >= 4
    page.focus("#threshold")
    before = page.input_value("#threshold")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#threshold") != before and "edges kept" in page.get_attribute(
        "#threshold", "aria-valuetext"
    )


def test_wheel_and_drag_move_the_picture(show):
    _, _, text = page_of(20)
    page = show(text)
    where = "new DOMMatrix(getComputedStyle(document.querySelector('#graph .root')).transform)"
    page.locator("#graph").scroll_into_view_if_needed()
    frame = page.locator("#graph").bounding_box()
    x, y = frame["x"] + 60, frame["y"] + 60
    scale = page.evaluate(f"{where}.a")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"{where}.a > {scale} * 1.1")
    left = page.evaluate(f"{where}.e")
    page.mouse.down()
    page.mouse.move(x + 50, y + 10, steps=4)
    page.mouse.up()
    assert page.evaluate(f"{where}.e") == pytest.approx(left + 50, abs=1)


def test_dark_and_light(show):
    _, _, text = page_of(20)
    ground = "getComputedStyle(document.body).backgroundColor"
    page = show(text, color_scheme="dark")
    dark = page.evaluate(ground)
    page.click("#theme")
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)" != dark
    assert show(text, color_scheme="light").evaluate(ground) == light


@pytest.mark.parametrize("level", ["nodes", "coordinates"])
def test_circuits_of_components(show, level):
    circuit, _ = random_circuit(8, SMALL, level=level)
    page, graph = show(to_html(circuit, unverified(circuit), "acdc discover")), circuit.graph
    assert shown(page) == {edge.id for edge in circuit.effective}
    assert page.locator("#details li").count() == len(circuit.nodes) and "no scores of their own" in page.inner_text(
        "#details"
    )
    widths = page.eval_on_selector_all("#graph .edge", "all => all.map(edge => edge.getAttribute('stroke-width'))")
    assert len(set(widths)) == 1 and page.locator("#graph .edge.against").count() == 0, "none looks like a score"
    page.click("#details li button")
    assert "score +" in page.inner_text("#details") and page.locator("#details li .figure").first.inner_text() == ""
    page.keyboard.press("Escape")
    threshold = drag_slider(page, 0.4)
    strong = {node.id for node in circuit.nodes if node.score >= threshold}
    among = graph.between(np.array([w.id in strong or w in graph.embeddings for w in graph.writers]))
    assert shown(page) == set(graph.ids(graph.prune(among)))


def test_patterns_tell_pairs_of_tokens(show):
    circuit, scores = random_circuit(10, SMALL)
    pattern = [[1.0], [0.25, 0.75], [0.1, 0.2, 0.7]]
    row = {"row": "r", "group": None, "start": 0, "length": 3, "clean": ["one", "two", "three"], "answer": 2}
    row |= {"corrupted": ["one", "six", "three"], "correct": ["x"], "incorrect": ["y"], "full": 1.0, "circuit": 0.5}
    examples = Examples(
        of="verification", metric="logit_diff", heads=["a0.h0"], rows=[Example(**row, patterns=[pattern])]
    )
    page = show(to_html(circuit, quick_report(circuit), "acdc discover", scores, examples))
    assert page.locator(".token.differs").count() == 2
    assert "\u201cthree\u201d 2 to \u201cthree\u201d 2: 70.0%" in page.inner_text(".pair")
    page.locator(".pattern canvas").scroll_into_view_if_needed()
    box = page.locator(".pattern canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 6, box["y"] + box["height"] / 2)
    assert "\u201ctwo\u201d 1 to \u201cone\u201d 0: 25.0%" in page.inner_text(".pair")
    assert page.inner_text(".token.from") == "two"


def test_tables_are_sorted(show):
    circuit, _, text = page_of(30)
    page = show(text)
    page.click("#parts th:nth-child(2) button")
    scores = page.eval_on_selector_all("#parts tbody td:nth-child(2)", "all => all.map(c => parseFloat(c.textContent))")
    assert len(scores) == len(circuit.edges) and scores == sorted(scores, reverse=True)
    assert page.get_attribute("#parts th:nth-child(2)", "aria-sort") == "descending"


@pytest.mark.slow
def test_a_real_run(acdc, show, tmp_path):
    """A verified run's page, with everything on it."""
    words = ("discover", "--task", "induction", "--limit", "8", "--method", "eap", "--edges", "12", "--out", "r")
    assert acdc(*words).code == 0
    page = show((tmp_path / "r/report.html").read_text())
    record = json.loads((Path(tmp_path) / "r/examples.json").read_text())
    assert page.locator(".pattern canvas").count() == len(record["heads"]) * len(record["rows"]) > 0
    assert "acdc discover" in page.inner_text(".command")
