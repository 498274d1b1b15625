"""Two circuits in one picture, against set arithmetic; found beside true; and what notebooks show."""

import re
from xml.etree import ElementTree

import pytest
from test_pictures import SVG, circuit_of, with_changes

import acdc as package
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.faithfulness import Faithfulness
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.interval import Interval
from acdc.benchmark.trained import FOLDERS
from acdc.errors import InputError
from acdc.render import svg
from acdc.render.comparison import compare
from acdc.render.difference import BOTH, FIRST, SECOND, draw_difference
from acdc.render.look import Look
from acdc.render.shapes import Picture


@pytest.fixture(scope="module")
def pair(trio, induction) -> tuple[Circuit, Circuit]:
    base = package.discover(trio, induction, method="random", edges=10, limit=4).circuit
    return circuit_of(base, 25, seed=4), circuit_of(base, 30, seed=24)


def lines(picture: Picture) -> dict[tuple[str, str], set[str]]:
    """Ids of edges by colour and dash."""
    found: dict[tuple[str, str], set[str]] = {}
    for link in picture.links:
        found.setdefault((link.line.colour, link.line.dash), set()).add(link.line.tooltip.partition(": ")[0])
    return found


@pytest.mark.parametrize("fixed", [False, True])
def test_difference(pair, fixed):
    first, second = ({edge.id for edge in circuit.effective} for circuit in pair)
    picture = draw_difference(*pair, ("ours", "theirs"), Look(fixed))
    assert lines(picture) == {BOTH: first & second, FIRST: first - second, SECOND: second - first}
    text = svg.write(picture)
    words = {element.text for element in ElementTree.fromstring(text).iter(f"{SVG}text")}
    assert f"in both: {len(first & second)}" in words
    assert {f"only in ours: {len(first - second)}", f"only in theirs: {len(second - first)}"} <= words
    assert any("ours and theirs" in (word or "") for word in words)
    assert text == svg.write(draw_difference(*pair, ("ours", "theirs"), Look(fixed)))


def test_nodes_of_one_circuit_have_its_outline(pair):
    parts = [{name for edge in c.effective for name in ends(edge.id)} for c in pair]
    assert parts[0] - parts[1] and parts[1] - parts[0]
    for node in draw_difference(*pair).nodes:
        mark = FIRST if node.id not in parts[1] else SECOND if node.id not in parts[0] else None
        if mark:
            assert (node.outline.line, node.outline.dash) == mark
        else:
            assert node.outline.dash == "solid" and node.outline.line not in (FIRST[0],)


def ends(edge: str) -> tuple[str, str]:
    source, target = edge.split("->")
    return source, re.sub("<.>", "", target)


def test_the_same_circuit_twice(pair):
    assert set(lines(draw_difference(pair[0], pair[0]))) == {BOTH}


def test_what_cannot_be_in_one_picture(pair):
    first, second = pair
    other = with_changes(second, model=second.model.model_copy(update={"content_hash": "0", "name": "other"}))
    with pytest.raises(InputError, match="different models, trio and other"):
        draw_difference(first, other)
    split = with_changes(second, edges=[], model=second.model.model_copy(update={"split_embeddings": True}))
    with pytest.raises(InputError, match="splits embeddings"):
        draw_difference(first, split)


def test_found_beside_true(pair):
    found, true = ({edge.id for edge in circuit.effective} for circuit in pair)
    text = compare(pair[0].graph, "case", found, true)
    titles = [element.text for element in ElementTree.fromstring(text).iter(f"{SVG}title")]
    told = dict(title.split(": ", 1) for title in titles if "->" in title)
    assert {name for name, word in told.items() if word == "true, and found"} == found & true
    assert {name for name, word in told.items() if word == "true, and missed"} == true - found
    assert {name for name, word in told.items() if word.startswith("false")} == found - true


def test_command(acdc, tmp_path):
    words = ("discover", "--task", "induction", "--method", "eap", "--limit", 64)
    assert acdc(*words, "--edges", 30, "--out", "big").code == acdc(*words, "--edges", 20, "--out", "small").code == 0
    done = acdc("diff", "big", "small", "--picture", "both.svg", "--fixed")
    assert done.code == 0, done.err
    counts = [len(Circuit.load(tmp_path / name).effective) for name in ("big", "small")]
    text = (tmp_path / "both.svg").read_text()
    assert f"only in big: {counts[0] - counts[1]}" in text and f"in both: {counts[1]}" in text
    assert acdc("diff", "big", "small", "--fixed").code == 2
    refused = acdc("diff", "big", "small", "--picture", "both.jpeg")
    assert refused.code == 2 and "suffix" in refused.err and not (tmp_path / "both.jpeg").exists()
    task = tmp_path / "rows.jsonl"
    task.write_text('{"task": "t", "metric": "kl"}\n' + '{"clean": [1, 2, 3], "corrupted": [1, 3, 3]}\n' * 4)
    known = ("--model", FOLDERS["induction"], "--task", task, "--method", "random", "--edges", 5)
    assert acdc("discover", *known, "--out", "known").code == 0
    refused = acdc("diff", "big", "known", "--picture", "no.svg")
    assert refused.code == 2 and "different models" in refused.err and not (tmp_path / "no.svg").exists()


@pytest.fixture(scope="module")
def shown(trio, induction):
    """A result, its report with intervals as a full verification has them, and a curve."""
    result = package.discover(trio, induction, method="eap", edges=12, limit=64)
    report = package.verify(trio, induction, result.circuit)
    span = Interval(low=0.25, value=report.faithfulness, high=1.5)
    faithfulness = Faithfulness(ablation=report.ablation, metric=report.metric, denoised=span, noised=span)
    full_verification = FullVerification(
        faithfulness=[faithfulness, faithfulness.model_copy(update={"ablation": "zero", "noised": span})],
        only_under=None,
        completeness=None,
        minimality=None,
        tests=[],
        groups=[],
        failures=[],
        left_out={},
    )
    report = report.model_copy(update={"full_verification": full_verification})
    return result, report, package.sweep(trio, induction, [0.5, 2.0], limit=16)


def test_notebooks_show_well_formed_pages_on_white(shown):
    result, report, curve = shown
    for text in (result.circuit._repr_svg_(), curve._repr_svg_()):
        root = ElementTree.fromstring(text)
        assert next(root.iter(f"{SVG}rect")).attrib["fill"] == "#ffffff"
    for text in (result._repr_html_(), report._repr_html_()):
        assert "background:#ffffff" in ElementTree.fromstring(text).attrib["style"]
    cells = [cell.text for cell in ElementTree.fromstring(result._repr_html_()).iter("td")]
    scores = {edge.id: edge.score for edge in result.circuit.edges}
    strongest = max(scores, key=lambda name: abs(scores[name]))
    assert cells[:2] == [strongest, f"{scores[strongest]:+.4g}"] and len(cells) == 20


def test_notebooks_show_intervals(trio, induction, shown):
    result, report, _ = shown
    interval = f"{report.faithfulness:.1%} [25.0%, 150.0%]"
    assert report._repr_html_().count(interval) == 2, "in the sentence and in the table"
    plain = package.verify(trio, induction, result.circuit)
    assert f"{plain.faithfulness:.1%}" in plain._repr_html_() and "[" not in plain._repr_html_()
    every = package.discover(trio, induction, method="random", edges=5, limit=len(induction.rows))
    assert "Not verified" in package.verify(trio, induction, every.circuit)._repr_html_()
