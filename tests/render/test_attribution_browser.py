"""The page of an attribution graph in headless Chromium: no error, no request, and every control does what it says."""

import pytest
from test_attribution_graphs import EVIL, small
from test_attribution_pictures import verification

from acdc.render.attribution.page import to_html


@pytest.fixture
def graph():
    return small()


@pytest.fixture
def page(show, graph):
    return show(to_html(graph, graph.prune(), verification(), "acdc trace"))


def test_all_that_is_kept_is_shown(page, graph):
    assert page.evaluate("acdc.nodes()") == [node.id for node in graph.kept(graph.prune())]
    page.evaluate("acdc.setLinks(1)")
    found = {(source, target): weight for source, target, weight in page.evaluate("acdc.links()")}
    expected = {(link.source.id, link.target.id): link.weight for link in graph.links(graph.prune())}
    assert found.keys() == expected.keys()
    assert all(weight == pytest.approx(expected[key], rel=1e-3) for key, weight in found.items())
    assert page.locator(".trace-link").count() == len(expected)
    assert f"{len(expected)} of {len(expected)} links" in page.locator("#readout").inner_text()


def test_a_click_shows_inputs_and_outputs(page, graph):
    page.get_by_role("button", name="neuron 4 of MLP 1 at 'b' (1)").first.click()
    details = page.locator("#details").inner_text()
    row = [node.id for node in graph.targets].index("m1.n4@1")
    assert details.startswith("m1.n4@1") and f"Inputs ({(graph.weights[row] != 0).sum()})" in details
    assert all("m1.n4@1" in link[:2] for link in page.evaluate("acdc.links()"))
    page.keyboard.press("Escape")
    assert page.locator("#details").inner_text().startswith("Click a node")


def test_hints_are_in_the_details(page):
    page.evaluate("acdc.choose('m0.n7@0')")
    assert "raises 'x' +1.00" in page.locator("#details").inner_text()


def test_the_slider_leaves_the_most_influential(page, graph):
    ranks = {node.id: rank for node, rank in zip(graph.nodes, graph.prune().rank, strict=True)}
    page.evaluate("acdc.setInfluence(0.5)")
    shown = page.evaluate("acdc.nodes()")
    units = [node.id for node in graph.nodes if node.is_unit or node.kind.value == "rest"]
    assert [name for name in shown if name in units] == [name for name in units if ranks[name] <= 0.5]
    assert {"token@0", "token@1", "bias", "logit:20"} <= set(shown)
    page.locator("#influence").fill("0")
    assert not set(units) & set(page.evaluate("acdc.nodes()"))


def test_search(page):
    page.locator("#search").fill("MLP 0")
    assert page.locator("#search-status").inner_text() == "3 found"
    assert page.locator(".trace-node.found").count() == 3


def test_the_picture_is_saved(page):
    with page.expect_download() as saved:
        page.locator("#save").click()
    text = saved.value.path().read_text()
    assert saved.value.suggested_filename == "attribution.svg"
    assert text.startswith("<svg") and "m1.n4@1" in text and "--raises:" in text


def test_text_of_tokens_is_text(show):
    graph = small(label=EVIL)
    page = show(to_html(graph, graph.prune(), verification(), EVIL))
    page.evaluate("acdc.choose('token@0')")
    assert page.locator("img").count() == 0
    assert "<img" in page.locator("#details").inner_text()
