"""The HTML report without a browser: what it holds, that it needs nothing else, and that no name breaks out of it."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from circuits import GPT2, SMALL, quick_report, random_circuit, unverified

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.examples import Example, Examples
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.minimality import Minimality, MinimalityLevel, Part
from acdc.artefacts.verification.test_result import TestResult
from acdc.render.report import to_html
from acdc.render.report.explorer import MOST_EDGES, explorer_data
from acdc.render.style import dropped, title
from acdc.render.verdict import Standing, claims, minimal_text, result_text
from acdc.verification.measures import sample_of

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """Elements with their attributes, text by the element around it, and whether all were closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}>"

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self, tag: str) -> str:
        return "".join(data for around, data in self.texts if around == tag)

    @property
    def data(self) -> dict:
        (found,) = [data for tag, data in self.texts if tag == "script" and data.startswith("{")]
        return json.loads(found)


def page_of(edges: int, shape: dict = SMALL, scored: bool = True, **options) -> tuple:
    circuit, scores = random_circuit(edges, shape, **options)
    text = to_html(circuit, quick_report(circuit), "acdc discover --seed 0", scores if scored else None)
    return circuit, text, Page(text)


@pytest.mark.parametrize("edges", [0, 1, 10, 150])
def test_a_page_is_whole_and_needs_nothing_else(edges):
    _, text, page = page_of(edges)
    assert not page.open, "every element is closed"
    for tag, attributes in page.elements:
        assert "src" not in attributes and tag not in ("link", "iframe", "object", "base")
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import|\bimport\s|fetch\(|XMLHttpRequest", text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in page.elements if t == "a"} <= set(ids)


def test_the_data_is_the_graph_and_the_circuit():
    circuit, _, page = page_of(40)
    data, graph = page.data["graph"], circuit.graph
    edges = data["edges"]
    names = [f"{data['writers'][w]}->{data['readers'][r][0]}" for w, r in zip(edges["w"], edges["r"], strict=True)]
    assert names == list(graph.names) and data["total"] == graph.n_edges
    assert {names[place]: edges["score"][place] for place in edges["own"]} == {e.id: e.score for e in circuit.edges}
    assert data["removals"].keys() == {edge.id for edge in circuit.edges}


def test_of_many_candidates_the_strongest_are_there_and_the_floor_says_which():
    circuit, scores = random_circuit(200, GPT2)
    data = explorer_data(circuit, quick_report(circuit), scores)
    shown = np.abs(data["edges"]["score"])
    assert len(shown) == MOST_EDGES and data["candidates"] == circuit.edges_total
    assert (np.abs(scores) >= data["floor"]).sum() == (shown >= data["floor"]).sum() == MOST_EDGES
    alike = np.ones_like(scores)  # no border between the strongest and the others: only the circuit's own are there
    data = explorer_data(circuit, quick_report(circuit), alike)
    assert len(data["edges"]["score"]) == len(circuit.edges)


@pytest.mark.parametrize("removed", [30, 37])
def test_a_sample_of_removals_is_not_said_to_be_all(removed):
    """Neither in the sentence on minimality nor in the number at the top."""
    circuit, _ = random_circuit(40)
    assert len(circuit.edges) == 37
    report = quick_report(circuit)
    removals = report.removals[:removed]
    parts = [Part(id=r.id, worse={"low": 0, "value": 1, "high": 2}, needed=r.hurts, p=1.0) for r in removals]
    minimal = Minimality(level=MinimalityLevel.quasi, subsets_tried=0, tolerance=0.1, parts=parts, outside=None)
    strongest = [removal.id for removal in removals[:10]]
    sample = sample_of(len(circuit.parts), removals, strongest, report.rows)
    full_verification = FullVerification(
        faithfulness=[],
        only_under=None,
        completeness=None,
        minimality=minimal,
        tests=[],
        groups=[],
        failures=[],
        left_out={},
    )
    report = report.model_copy(update={"removals": removals, "sample": sample, "full_verification": full_verification})
    hurt = sum(removal.hurts for removal in removals)
    whole = f"{hurt} of 37 edges are needed"
    drawn = f"of the 30 edges that were removed, out of 37, {hurt} are needed"
    assert (whole if removed == 37 else drawn) in minimal_text(minimal, report)
    page = Page(to_html(circuit, report, "acdc discover")).text("span")
    assert ("estimated from 30 of 37, removed one by one" in page) == (removed == 30)
    assert ("edges needed" in page) == (removed == 37)


def test_names_cannot_break_out():
    circuit, scores = random_circuit(10, SMALL)
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(1)">'
    task = circuit.task.model_copy(update={"name": evil, "split": evil})
    circuit = circuit.model_copy(update={"task": task, "model": circuit.model.model_copy(update={"name": evil})})
    row = {"row": evil, "group": evil, "start": 0, "length": 2, "clean": [evil, "b"], "corrupted": ["a", evil]}
    row |= {
        "answer": 1,
        "correct": [evil],
        "incorrect": [],
        "full": 1.0,
        "circuit": 0.5,
        "patterns": [[[1.0], [0.5, 0.5]]],
    }
    examples = Examples(of="verification", metric="logit_diff", heads=["a0.h0"], rows=[Example(**row)])
    text = to_html(circuit, quick_report(circuit), evil, scores, examples)
    page, plain = Page(text), Page(to_html(*random_circuit(10, SMALL)[:1], quick_report(circuit), "", scores, examples))
    assert not page.open and "img" not in {tag for tag, _ in page.elements}
    count = [sum(tag == "script" for tag, _ in one.elements) for one in (page, plain)]
    assert count == [2, 2], "the data and the script"
    assert page.data["examples"]["rows"][0]["tokens"] == [evil, "b"]
    assert page.text("code") == evil


def test_what_was_not_looked_at_is_said_to_be_open():
    circuit, _ = random_circuit(10, SMALL)
    found = {claim.name: claim for claim in claims(circuit, quick_report(circuit))}
    assert found["faithfulness"].standing is Standing.open and "90.0%" in found["faithfulness"].text
    assert "no interval" in found["faithfulness"].text
    assert "higher is better" in found["faithfulness"].text
    assert found["better than chance"].standing is Standing.open
    assert found["full verification"].standing is Standing.open and "acdc verify RUN" in found["full verification"].text
    assert found["stability"].standing is Standing.open
    poor = quick_report(circuit)
    measure = poor.measures["logit_diff"].model_copy(update={"faithfulness": 0.79})
    poor = poor.model_copy(update={"measures": {"logit_diff": measure}})
    assert claims(circuit, poor)[0].standing is Standing.not_shown
    assert [claim.standing for claim in claims(circuit, unverified(circuit))] == [Standing.open]


def test_edges_on_no_path_are_dropped_everywhere():
    """One count in terminal, report and verification; the file keeps what the method kept."""
    whole, _ = random_circuit(10, SMALL)
    graph, values = whole.graph, whole.model_dump()
    single = (~whole.mask[:, None] & np.eye(graph.n_edges, dtype=bool)).T
    place = next(
        i for i, edge in enumerate(single) if edge.any() and (graph.prune(whole.mask | edge) == whole.mask).all()
    )
    values["edges"].append({"id": graph.names[place], "score": 99.0})
    circuit = Circuit(**values)
    circuit.check()
    assert len(circuit.edges) == len(whole.edges) + 1 and [p.id for p in circuit.parts] == [p.id for p in whole.parts]
    assert (circuit.own.values == whole.mask).all() and (circuit.ablated.values == ~whole.mask).all()
    assert title(circuit) == title(whole) and dropped(whole) == ""
    assert dropped(circuit) == "1 edge without a path from input to logits was dropped"
    page = to_html(circuit, quick_report(circuit), "acdc discover")
    assert dropped(circuit) in page


def result(**values) -> TestResult:
    """A test of equivalence, unless `values` say otherwise, that is not significant."""
    usual = {"name": "equivalence", "null": "", "measures": "", "n": 64, "speaks": "against", "adjusted": 1.0}
    return TestResult(**(usual | {"effect": 0.5, "power": 1.0} | values))


def test_each_test_says_its_result_in_a_sentence():
    beaten = result(rejected=True, effect=1.0, adjusted=0.001)
    assert result_text(beaten).startswith(
        "the circuit beats the full model on 100% of rows, so the two are not equivalent"
    )
    lost = result_text(result(rejected=True, effect=0.0, adjusted=0.001))
    assert lost.startswith("the full model beats the circuit on 100% of rows, so the two are not equivalent")
    assert "does not show a difference" in result_text(result()) and "power at 64 rows: 100%" in result_text(result())
    chance = result(name="sufficiency", speaks="for", n=240, effect=1.0, rejected=True, power=None)
    assert result_text(chance).startswith(
        "the circuit recovers more than all 240 random circuits of the same size (p = 1"
    )
    assert result_text(result(testable=False, reason="no rows")) == "not testable: no rows"


@pytest.mark.parametrize(
    ("speaks", "rejected", "power", "standing"),
    [
        ("for", True, 0.0, Standing.shown),
        ("for", False, 0.9, Standing.not_shown),
        ("for", False, 0.1, Standing.open),
        ("against", True, 0.9, Standing.not_shown),
        ("against", False, 0.9, Standing.open),
    ],
)
def test_a_test_without_power_leaves_its_claim_open(speaks, rejected, power, standing):
    circuit, _ = random_circuit(10, SMALL)
    test = result(name="indistinguishable", speaks=speaks, rejected=rejected, power=power)
    full_verification = FullVerification(
        faithfulness=[],
        only_under=None,
        completeness=None,
        minimality=None,
        tests=[test],
        groups=[],
        failures=[],
        left_out={},
    )
    found = claims(circuit, quick_report(circuit).model_copy(update={"full_verification": full_verification}))
    assert [claim.standing for claim in found if claim.name == test.name] == [standing]


@pytest.mark.parametrize("level", ["nodes", "coordinates"])
def test_circuits_of_components(level):
    circuit, _ = random_circuit(8, SMALL, level=level)
    text = to_html(circuit, quick_report(circuit), "acdc discover")
    assert "<h2>Nodes</h2>" in text and not Page(text).open
    text = to_html(circuit, unverified(circuit), "acdc discover")
    assert "Not verified: discovery used all 4 rows" in text


def test_thresholds_of_components_keep_the_edges_among_them():
    """Against `ComponentGraph.between` of the nodes with enough."""
    circuit, _ = random_circuit(8, SMALL, level="nodes")
    data, graph = explorer_data(circuit, quick_report(circuit), None), circuit.graph
    names = np.array(graph.names)[circuit.mask]
    for threshold in {node.score for node in circuit.nodes}:
        strong = {node.id for node in circuit.nodes if node.score >= threshold}
        among = graph.between(np.array([w.id in strong or w in graph.embeddings for w in graph.writers]))
        kept = set(names[np.array(data["edges"]["size"]) >= threshold])
        assert kept == set(graph.ids(among))


def test_the_same_bytes_every_time():
    assert page_of(60)[1] == page_of(60)[1]


def test_a_long_table_is_cut_and_says_so():
    circuit, text, _ = page_of(450, scored=False)
    assert len(re.findall(r'<th scope="row" class="word">[^<]*-&gt;', text)) == 200 < len(circuit.edges)
    assert f"The table has the first 200 of {len(circuit.edges):,}" in text
