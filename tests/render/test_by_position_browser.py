"""The view by position in headless Chromium: two views, and the tokens that a chosen node or edge reads."""

import re

import pytest
from circuits import positional_circuit, quick_report

from acdc.artefacts.verification.examples import Example, Examples
from acdc.render.report import to_html

SMALLEST = """() => { const svg = document.querySelector("#by-position svg");
    const sizes = [...svg.querySelectorAll("text")].map((text) => parseFloat(getComputedStyle(text).fontSize));
    return Math.min(...sizes) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width; }"""
# Both boxes at once: the page may still be scrolling.
WITHIN = """(names) => { const [a, b] = names.map((name) => document.querySelector(name).getBoundingClientRect());
    return b.top < a.top && a.bottom < b.bottom; }"""
CLICK = (
    """id => document.querySelector(`[data-edge="${id}"] .reach`).dispatchEvent(new Event("click", {bubbles: true}))"""
)


def shown(page) -> set[str]:
    return set(page.evaluate("acdc.shown()"))


def positional_page(show, **options):
    circuit = positional_circuit(60)
    row = {"row": "r", "group": None, "start": 0, "length": 5, "clean": list("vwxyz"), "corrupted": None, "answer": 4}
    row |= {"correct": ["p"], "incorrect": [], "full": 1.0, "circuit": 0.5, "patterns": []}
    example = Example(**row, spans=["rest", "A", "B", "C", "end"])
    examples = Examples(of="verification", metric=circuit.metric, heads=[], rows=[example])
    return circuit, show(to_html(circuit, quick_report(circuit), "acdc discover", None, examples), **options)


def spans_with(page, kind: str) -> set[str]:
    return set(page.eval_on_selector_all(f".token.{kind}", "all => all.map(token => token.dataset.span)"))


def test_views_are_switched_by_the_keyboard(show):
    circuit, page = positional_page(show)
    assert page.is_visible("#by-position svg") and not page.is_visible("#graph")
    page.focus("#as-components")
    page.keyboard.press("Enter")
    assert page.is_visible("#graph") and not page.is_visible("#by-position")
    assert page.get_attribute("#as-components", "aria-pressed") == "true"
    assert shown(page) == {edge.id for edge in circuit.links}
    assert f"the {len(circuit.positions)} edges at positions" in page.inner_text("#readout")
    assert "were not measured" in page.inner_text("#readout")
    assert page.evaluate(WITHIN, ['[data-id="logits"]', "#graph"]), "all of it is in sight"
    page.click("#as-positions")
    assert page.is_visible("#by-position svg") and page.get_attribute("#as-components", "aria-pressed") == "false"


def test_an_edge_marks_the_tokens_that_it_reads(show):
    circuit, page = positional_page(show)
    crossing = next(e.id for e in circuit.positions if e.id.split("->")[0].split("@")[1] != e.id.split("@")[-1])
    source, span = crossing.split("->")[0].split("@")[1], crossing.split("@")[-1]
    page.evaluate(CLICK, crossing)
    assert spans_with(page, "reads") == {source} and spans_with(page, "works") == {span}
    assert page.inner_text("#by-position h3") == crossing
    assert page.eval_on_selector_all(".link.lit", "all => all.map(link => link.dataset.edge)") == [crossing]
    assert f"reads ({source})" in page.inner_text(".read-note")
    page.keyboard.press("Escape")
    assert spans_with(page, "reads") == set() and page.locator(".link.lit").count() == 0


def test_a_node_marks_what_its_edges_read(show):
    circuit, page = positional_page(show)
    at = next(e.id.split("->")[0] for e in circuit.positions if e.id.startswith("a") and e.id.endswith("@end"))
    into = [e.id for e in circuit.positions if re.sub(r"<.>", "", e.id.split("->")[1]) == at]
    out = [e.id for e in circuit.positions if e.id.startswith(f"{at}->")]
    page.focus(f'[data-at="{at}"]')
    page.keyboard.press("Enter")
    assert page.get_attribute(f'[data-at="{at}"]', "aria-pressed") == "true"
    assert spans_with(page, "reads") == {id.split("->")[0].split("@")[1] for id in into}
    assert spans_with(page, "works") == {at.split("@")[1]}
    lit = page.eval_on_selector_all(".link.lit", "all => all.map(link => link.dataset.edge)")
    assert set(lit) == {*into, *out} and into and out


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_picture_by_position_fits_and_is_seen(show, width, scheme):
    circuit, page = positional_page(show, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(SMALLEST) >= 10
    beyond = """(() => { const e = document.querySelector("#by-position .canvas");
        return e.scrollWidth > e.clientWidth + 8 || e.scrollHeight > e.clientHeight + 8; })()"""
    assert page.is_visible(".goes-on") == page.evaluate(beyond)
    page.click("#span-fit")
    assert not page.evaluate(beyond) and not page.is_visible(".goes-on")
    page.click("#span-read")
    page.click("#by-position .details li button")
    colour = "name => getComputedStyle(document.querySelector('.token.reads'))[name]"
    assert page.evaluate(colour, "color") != page.evaluate(colour, "backgroundColor")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert page.evaluate("getComputedStyle(document.querySelector('#by-position svg > rect')).fill") == ground
    box = page.locator(".node.lit").last.bounding_box()
    assert 0 <= box["x"] < width, "what is chosen is scrolled into sight"
