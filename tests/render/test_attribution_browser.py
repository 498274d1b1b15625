"""The page of an attribution graph in headless Chromium: no error, no request, and every control does what it says."""

import json
from dataclasses import replace

import pytest
from test_attribution_folding import deep
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
    page.evaluate("acdc.setLinks(1e9)")
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


def test_the_slider_folds_the_least_influential(page, graph):
    page.evaluate("acdc.setCount(1)")
    shown = page.evaluate("acdc.nodes()")
    ranks = dict(zip([node.id for node in graph.nodes], graph.prune().rank, strict=True))
    units = [node.id for node in graph.nodes if node.is_unit]
    assert min(units, key=ranks.__getitem__) in shown
    assert {"token@0", "token@1", "bias", "logit:20"} <= set(shown)
    folded = [one for _, members in page.evaluate("acdc.folded()") for one in members]
    assert sorted(shown + folded) == sorted(node.id for node in graph.kept(graph.prune()))
    page.locator("#influence").fill("100")
    assert page.evaluate("acdc.folded()") == [] and len(page.evaluate("acdc.nodes()")) == 12


def label_sizes(page) -> list[float]:
    """Heights in pixels of the fonts of all labels of the diagram, as they are shown."""
    return page.evaluate(
        "[...document.querySelectorAll('#graph text')].map("
        "(one) => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a)"
    )


def inside(page) -> bool:
    """Whether all boxes are inside the canvas."""
    return page.evaluate(
        "(() => { const all = document.querySelector('#graph').getBoundingClientRect();"
        "return [...document.querySelectorAll('.trace-node rect')].map((one) => one.getBoundingClientRect()).every("
        "(one) => one.left >= all.left && one.right <= all.right && "
        "one.top >= all.top && one.bottom <= all.bottom); })()"
    )


@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
@pytest.mark.parametrize("length", [5, pytest.param(24, marks=pytest.mark.slow)])
def test_labels_of_a_large_graph_can_be_read(show, length, width, height):
    """At 1440 pixels all of it is inside the canvas at first, and at no width is a label below 10 pixels or does the
    page scroll sideways."""
    graph = deep(length)
    page = show(to_html(graph, graph.prune()), viewport={"width": width, "height": height})
    assert min(label_sizes(page)) >= 10
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    whole = inside(page)
    assert page.locator("#more").is_visible() is not whole and (whole or width < 1440)
    page.locator("#influence").fill("100")
    assert min(label_sizes(page)) >= 10 and page.evaluate("acdc.folded()") == []


def test_a_click_unfolds_and_fold_folds_again(show):
    graph = deep()
    page = show(to_html(graph, graph.prune()))
    first = page.evaluate("acdc.nodes()")
    text, members = max(page.evaluate("acdc.folded()"), key=lambda one: len(one[1]))
    assert text == f"+{len(members)}"
    page.locator(".trace-node.folded", has_text=text).first.click()
    shown = page.evaluate("acdc.nodes()")
    assert len(shown) > len(first) and min(label_sizes(page)) >= 10
    page.locator("#fold").click()
    assert page.evaluate("acdc.nodes()") == first


def test_a_folded_node_that_is_searched_for_is_unfolded(show):
    graph = deep()
    page = show(to_html(graph, graph.prune()))
    hidden = next(one for _, members in page.evaluate("acdc.folded()") for one in members if ".n" in one)
    page.locator("#search").fill(hidden)
    page.keyboard.press("Enter")
    assert hidden in page.evaluate("acdc.nodes()")
    assert page.locator("#details h3").first.inner_text() == hidden


def test_links_of_folded_nodes_are_sums(show):
    graph = deep()
    pruning = graph.prune()
    page = show(to_html(graph, pruning))
    page.evaluate("acdc.setLinks(1e9)")
    folded = {one: n for n, (_, members) in enumerate(page.evaluate("acdc.folded()")) for one in members}
    expected: dict = {}
    for link in graph.links(pruning):
        ends = tuple(folded.get(node.id, node.id) for node in (link.source, link.target))
        if ends[0] != ends[1]:
            expected[ends] = expected.get(ends, 0.0) + float(f"{link.weight:.4g}")  # as the page holds it
    found = [link[2] for link in page.evaluate("acdc.links()")]
    assert len(found) == len(expected)
    assert sorted(found) == pytest.approx(sorted(expected.values()), rel=1e-9, abs=1e-9)


def group_by_hand(page, ids, name):
    for one in ids:
        number = page.evaluate("acdc.nodes()").index(one)
        page.locator(".trace-node").nth(number).click(modifiers=["Shift"])
    page.get_by_label("Name of the supernode").fill(name)
    page.get_by_role("button", name="Put together").click()


def test_supernodes_are_made_in_the_page_and_kept_in_its_copy(page, show, tmp_path):
    group_by_hand(page, ["m0.n7@0", "m1.n4@1"], "a <b> & c")
    assert page.evaluate("acdc.groups()") == {"a <b> & c": ["m0.n7@0", "m1.n4@1"]}
    assert "m0.n7@0" not in page.evaluate("acdc.nodes()")
    assert page.locator("#details h3").first.inner_text() == "supernode a <b> & c"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download groups.json").click()
    assert json.loads(saved.value.path().read_text()) == {"a <b> & c": ["m0.n7@0", "m1.n4@1"]}
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save page").click()
    again = show(saved.value.path().read_text())
    assert again.evaluate("acdc.groups()") == {"a <b> & c": ["m0.n7@0", "m1.n4@1"]}
    assert again.locator(".trace-node.group").count() == 1 and again.locator(".trace-node").count() == 11
    again.locator(".trace-node.group").click()
    again.get_by_role("button", name="Take apart").click()
    assert again.evaluate("acdc.groups()") == {} and again.locator(".trace-node").count() == 12


def test_supernodes_of_a_graph_are_shown(show, graph):
    named = replace(graph, groups={"both": ("m0.n7@0", "m1.n4@1")})
    page = show(to_html(named, named.prune()))
    page.evaluate("acdc.setLinks(1e9)")
    into = {source: weight for source, target, weight in page.evaluate("acdc.links()") if target == "group:both"}
    rows = [[node.id for node in graph.targets].index(one) for one in ("m0.n7@0", "m1.n4@1")]
    bias = graph.weights[rows, graph.index["bias"]].sum()
    assert into["bias"] == pytest.approx(bias, rel=1e-3)


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
