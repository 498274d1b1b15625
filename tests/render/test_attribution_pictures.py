"""Attribution graphs as pictures, sentences and a page: everything is there once, and no text gets out of its place."""

import json
import re
from xml.etree import ElementTree

import pytest
from test_attribution_graphs import EVIL, small

from acdc.artefacts.attribution.nodes import NodeKind
from acdc.artefacts.attribution.verification import GraphVerification, KeptAlone, UnitEffect
from acdc.render.attribution.page import page_data, to_html
from acdc.render.attribution.picture import MOST_LINKS, draw, strongest_links, to_dot, to_svg
from acdc.render.attribution.places import arrange
from acdc.render.attribution.sentences import coverage, strongest, subtitle, title, unit_rows, verified

SVG = "{http://www.w3.org/2000/svg}"


def verification(**changes) -> GraphVerification:
    alone = KeptAlone(
        others="mean", count=3, full=3.0, none=1.0, graph=2.9, units=2.0, without=1.5,
        random_units=(1.0, 1.2), random_without=(2.8, 3.1),
    )  # fmt: skip
    effect = UnitEffect(id="m0.n7@0", direct=1.0, measured_direct=1.0, total=2.0, attention_held=1.8, nothing_held=1.7)
    values = {"logit": "logit:20", "kept_alone": (alone,), "effects": (effect,), "rank_held": 0.5, "rank_free": 0.25}
    return GraphVerification(**(values | changes))


def test_every_kept_node_has_a_place_of_its_own():
    graph = small()
    places = arrange(graph, graph.prune()).places
    boxes = list(places.boxes.values())
    assert places.boxes.keys() == {node.id for node in graph.kept(graph.prune())}
    for number, one in enumerate(boxes):
        assert one.width / 2 <= one.x <= places.width - one.width / 2 and 0 < one.y < places.height
        for other in boxes[:number]:
            apart_x = abs(one.x - other.x) >= (one.width + other.width) / 2
            assert apart_x or abs(one.y - other.y) >= (one.height + other.height) / 2


def test_tokens_are_below_and_logits_above():
    graph = small()
    boxes = arrange(graph, graph.prune()).places.boxes
    assert boxes["token@0"].y == boxes["bias"].y > boxes["m0.n7@0"].y > boxes["m1.n4@1"].y > boxes["logit:20"].y
    assert boxes["token@0"].x < boxes["token@1"].x


def test_svg_has_every_node_and_link():
    graph = small()
    tree = ElementTree.fromstring(to_svg(graph, graph.prune()))
    texts = [text.text for text in tree.iter(f"{SVG}text")]
    for caption in ("7", "rest", "a", "biases", "first MLPs", "pos 1", "yes 70%"):
        assert caption in texts
    links = [path for path in tree.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None]
    assert len(links) == len(graph.links(graph.prune()))


def test_of_many_links_the_strongest_are_drawn():
    graph = small()
    assert len(draw(graph, graph.prune()).links) <= MOST_LINKS
    kept = sorted(link.influence for link in graph.links(graph.prune()))
    assert [link.influence for link in strongest_links(graph.links(graph.prune()), 3)] == kept[:-4:-1]


def test_no_text_gets_out_of_its_place():
    graph = small(label=EVIL)
    assert "\x1b" not in to_svg(graph, graph.prune()) + to_dot(graph, graph.prune())
    ElementTree.fromstring(to_svg(graph, graph.prune()))
    page = to_html(graph, graph.prune(), verification(), f"acdc trace --prompt '{EVIL}'")
    assert "<img" not in page and page.count("</script>") == 2
    assert "\x1b" not in page


def test_dot_has_no_ports():
    graph = small()
    text = to_dot(graph, graph.prune())
    assert '"logit 20"' in text and "logit:20" not in re.sub(r'tooltip="[^"]*"', "", text)


def test_page_holds_what_is_drawn():
    graph = small()
    page = to_html(graph, graph.prune(), verification(), "acdc trace")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data == json.loads(json.dumps(page_data(graph, graph.prune())))
    assert [node["id"] for node in data["nodes"]] == [node.id for node in graph.kept(graph.prune())]
    weights = {(link.source.id, link.target.id): link.weight for link in graph.links(graph.prune())}
    columns = data["links"]
    for source, target, weight in zip(columns["source"], columns["target"], columns["weight"], strict=True):
        key = data["nodes"][source]["id"], data["nodes"][target]["id"]
        assert weight == pytest.approx(weights.pop(key), rel=1e-3)
    assert not weights
    assert columns["influence"] == sorted(columns["influence"], reverse=True)
    assert "This graph was not verified." in to_html(graph, graph.prune())


def test_sentences():
    graph = small()
    assert title(graph) == "trace of 'ab' in toy"
    assert subtitle(graph, graph.prune()).startswith("12 nodes and ")
    assert "3 of 3 neurons traced" in subtitle(graph, graph.prune())
    assert "the other neurons" in coverage(graph)
    assert "what the dictionary does not reconstruct" in coverage(small(NodeKind.FEATURE))
    direct, alone, effects = verified(graph, verification())
    assert direct.startswith("Direct effects of 1 neuron, measured with all else held, equal those in the graph")
    assert "is 3 in the model and 1 with all of them ablated" in alone
    assert (
        "kept graph alone has 2.9 (95% of the difference), its 3 kept neurons alone 2 (50% of the difference)" in alone
    )
    assert "at the same places: 1 to 1.2, 0% to 10%)" in alone
    assert "Without these alone, it is 1.5 (25% of the difference) (as many" in alone
    assert "rank correlation 0.50" in effects and "0.25 with nothing held" in effects
    assert verified(graph, verification(effects=(), rank_held=None)) == [alone]


def test_rows_of_units():
    graph = small()
    rows = {row[0]: row for row in unit_rows(graph, strongest(graph, graph.prune()))}
    assert rows["m0.n7"][1:3] == ("'a' (0)", "+1.5") and rows["m0.n7"][5:] == ("'x'", "'y'")
    assert rows["m0.n1"][5:] == ("", "")
