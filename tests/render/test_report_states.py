"""The report as it is seen: contrast in every state, on a phone, on paper; its verdict, its words and its names."""

import shlex

import pytest
from circuits import SMALL, quick_report, random_circuit, unverified

from acdc.artefacts.names import Names, load_names
from acdc.artefacts.verification.examples import Example, Examples, Lens, Prediction, Predictions
from acdc.artefacts.verification.faithfulness import Faithfulness
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.minimality import Minimality, MinimalityLevel, Part
from acdc.errors import InputError
from acdc.render.judgement import RULE, Word, judge
from acdc.render.report import to_html

CONTRAST = """element => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const paint = (colours) => { context.clearRect(0, 0, 1, 1);
        for (const colour of colours) (context.fillStyle = colour), context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255); };
    const grounds = [];
    for (let at = element; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const shown = element.querySelector(".name, .figure") ?? element;
    const light = (rgb) => rgb.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const [a, b] = [paint(grounds), paint([...grounds, getComputedStyle(shown).color])].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


def full_report(circuit):
    """A verification with an interval around every removal."""
    report = quick_report(circuit)
    parts = [
        Part(id=r.id, worse=Interval(low=-r.change - 1, value=-r.change, high=-r.change + 1), needed=r.hurts, p=0.01)
        for r in report.removals
    ]
    minimal = Minimality(level=MinimalityLevel.quasi, subsets_tried=0, tolerance=0.1, parts=parts, outside=None)
    whole = FullVerification(
        faithfulness=[], only_under=None, completeness=None, minimality=minimal, tests=[], groups=[], failures=[],
        left_out={},
    )  # fmt: skip
    return report.model_copy(update={"full_verification": whole})


def examples_of(circuit) -> Examples:
    row = {"row": "r", "group": None, "start": 0, "length": 40, "clean": [f"word{i}" for i in range(40)], "answer": 39}
    row |= {"corrupted": [f"word{i + i % 2}" for i in range(40)], "correct": [" yes"], "incorrect": [" no"]}
    full, own = ([Prediction(token=token, share=share)] for token, share in ((" yes", 0.875), (" no", 0.5)))
    row |= {"full": 1.0, "circuit": 0.5, "patterns": [], "predictions": Predictions(full=full, circuit=own)}
    return Examples(of="verification", metric=circuit.metric, heads=[], rows=[Example(**row)])


def with_lens(circuit, token: str = " yes") -> Examples:
    """The examples with a lens that says `token` everywhere from layer 1 on, and before that "word"."""
    (row,), depths = examples_of(circuit).rows, list(range(circuit.graph.anatomy.n_layers + 1))
    top = [[int(depth > 1)] * row.length for depth in depths]
    shares = [[100 * depth + place for place in range(row.length)] for depth in depths]
    lens = Lens(depths=depths, tokens=["word", token], top=top, shares=shares, right=[10 * depth for depth in depths])
    return examples_of(circuit).model_copy(update={"rows": [row.model_copy(update={"lens": lens})]})


def whole_page(show, edges: int = 60, **options):
    circuit, scores = random_circuit(edges, SMALL)
    text = to_html(circuit, full_report(circuit), "acdc discover", scores, examples_of(circuit))
    return circuit, show(text, **options)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_can_be_read_in_every_state(show, scheme):
    _, page = whole_page(show, color_scheme=scheme)
    told = {}
    for view in ("as-summary", "as-heatmap", "as-graph"):
        page.click(f"#{view}")
        few = [
            "nav a",
            ".bar-top button",
            ".view button",
            "#found",
            "#summary li button",
            "#heatmap td button",
            ".strong",
        ]
        for selector in [*few, "#details li button", "#parts thead button"]:
            for place in range(min(page.locator(selector).count(), 8)):
                button = page.locator(selector).nth(place)
                if not button.is_visible() or button.is_disabled():
                    continue
                name = f"{view} {selector} {place} {button.get_attribute('aria-pressed')}"
                told[name] = button.evaluate(CONTRAST)
                button.hover()
                told[f"{name} hovered"] = button.evaluate(CONTRAST)
        page.mouse.move(0, 0)
    assert any("true hovered" in name for name in told), "pressed ones are among them"
    assert {name: ratio for name, ratio in told.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("edges", [60, 200])
def test_no_sideways_scroll_on_a_phone(show, edges):
    _, page = whole_page(show, edges, viewport={"width": 390, "height": 844})
    for view in ("as-summary", "as-heatmap", "as-graph"):
        page.click(f"#{view}")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        for button in page.locator(".view button").all():
            box = button.bounding_box()
            assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= 390)


def test_paper(show):
    _, page = whole_page(show, viewport={"width": 688, "height": 1000})  # of A4 between its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 688
    tables = page.eval_on_selector_all(
        ".scroll table",
        """all => all.map(table => [table.offsetWidth, 
            getComputedStyle(table.querySelector("td, th")).fontSize, getComputedStyle(table.tHead).display])""",
    )
    assert tables and all(w <= 688 and size == "12px" and head == "table-header-group" for w, size, head in tables)
    after = "all => all.map((one) => getComputedStyle(one).breakAfter)"
    for selector in ("h2", "h3", "caption"):
        assert set(page.eval_on_selector_all(selector, after)) == {"avoid"}, f"nothing is stranded after {selector}"
    inside = page.eval_on_selector_all(".scroll thead button", "all => all.map((one) => getComputedStyle(one).display)")
    assert set(inside) == {"contents"}, "Chromium repeats no heading on the next page that has a box of a button in it"
    assert not page.is_visible(".controls") and not page.is_visible(".view")


@pytest.mark.parametrize(
    ("value", "interval", "word"),
    [
        (0.95, None, Word.faithful),
        (0.95, (0.85, 1.1), Word.faithful),
        (0.95, (0.75, 1.1), Word.partly),
        (0.6, None, Word.partly),
        (1.36, (1.3, 1.4), Word.partly),
        (0.2, None, Word.not_faithful),
        (1.8, (1.7, 1.9), Word.not_faithful),
        (None, None, Word.untested),
    ],
)
def test_the_verdict_in_one_word(show, value, interval, word):
    circuit, _ = random_circuit(20)
    report = quick_report(circuit)
    measure = report.measures[circuit.metric].model_copy(update={"faithfulness": value})
    report = report.model_copy(update={"measures": {circuit.metric: measure}})
    if interval is not None:
        span = Interval(low=interval[0], value=value, high=interval[1])
        own = Faithfulness(ablation=circuit.ablation, metric=circuit.metric, denoised=span, noised=span)
        whole = full_report(circuit).full_verification.model_copy(update={"faithfulness": [own]})
        report = report.model_copy(update={"full_verification": whole})
    found = judge(report)
    assert found.word is word and ("overshooting" in found.why) == (value is not None and value > 1.2)
    text = to_html(circuit, report, "acdc discover")
    unsure = ", without an interval" if word is Word.faithful and interval is None else ""
    assert f">{word.value.capitalize()}{unsure}</b>" in text and RULE in text
    assert text.index("word-name") < text.index(">Edges<") or text.index("word-name") < text.index('class="cards"')


def test_a_metric_that_is_far_lower_is_named():
    """The word is that of the metric of discovery; others are compared with what counts as faithful."""
    circuit, _ = random_circuit(20)
    report = quick_report(circuit)
    own = report.measures[circuit.metric].model_copy(update={"faithfulness": 0.9})
    others = {
        "accuracy": own.model_copy(update={"full": 0.918, "circuit": 0.525, "faithfulness": 0.95}),
        "prob_diff": own.model_copy(update={"faithfulness": 0.34}),
        "nll": own.model_copy(update={"faithfulness": 0.81}),
    }
    found = judge(report.model_copy(update={"measures": {circuit.metric: own, **others}}))
    assert found.word is Word.faithful and found.said == "faithful, without an interval"
    assert found.why == (
        f"The circuit alone recovers 90.0% of the behaviour in {circuit.metric}. It recovers less in accuracy "
        "(0.525 of 0.918) and prob_diff (34.0%)."
    )


def test_what_was_not_verified_is_untested():
    circuit, _ = random_circuit(20)
    assert judge(unverified(circuit)).word is Word.untested


def test_the_table_of_edges_says_each_thing_once(show):
    circuit, page = whole_page(show)
    head = page.locator("#parts thead th").all_inner_texts()
    worse = "logit_diff worse without it [95% interval]"
    assert head == ["edge", "score", "rows that get worse", "needed", worse, "drawn", "p, corrected"]
    quick = show(to_html(circuit, quick_report(circuit), "acdc discover"))
    changed = "change of logit_diff without it"
    assert quick.locator("#parts thead th").all_inner_texts() == ["edge", "score", changed, *head[2:4]]


def test_what_model_and_circuit_say_next(show):
    _, page = whole_page(show)
    lists = page.locator(".predictions > div").all_inner_texts()
    assert [text.split() for text in lists] == [
        ["Next", "token,", "full", "model", "yes", "87.5%"],
        ["Next", "token,", "circuit", "no", "50.0%"],
    ]
    assert page.locator(".predictions .token.right").all_inner_texts() == [" yes"]


@pytest.mark.parametrize("width", [390, 1440])
def test_the_logit_lens_is_drawn_when_it_is_opened(show, width):
    circuit, scores = random_circuit(60, SMALL)
    text = to_html(circuit, full_report(circuit), "acdc discover", scores, with_lens(circuit))
    page, layers = show(text, viewport={"width": width, "height": 900}), circuit.graph.anatomy.n_layers
    assert page.locator(".lens table").count() == 0
    page.click(".lens summary")
    heads = page.locator(".lens tbody th").all_inner_texts()
    assert heads == ["embeddings", *(f"after layer {layer}" for layer in range(layers))]
    rows = page.locator(".lens tbody tr")
    assert [rows.nth(i).locator(".token.right").count() for i in range(layers + 1)] == [0, 0, *[40] * (layers - 1)]
    assert page.locator(".lens tbody .right-share").all_inner_texts() == [f"{depth}.0%" for depth in range(layers + 1)]
    rows.nth(2).locator("td[data-at='3']").hover()
    assert page.inner_text(".lens .pair-note") == "after layer 1, at “word3” 3: “ yes” 20.3%"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_component_says_what_the_stream_says_before_and_after_its_layer(show):
    circuit, scores = random_circuit(60, SMALL)
    page = show(to_html(circuit, full_report(circuit), "acdc discover", scores, with_lens(circuit)))
    head = next(edge.id.split("->")[0] for edge in circuit.links if edge.id.startswith("a1."))
    page.click(f'[data-id="{head}"]')
    said = page.inner_text("#details")
    assert "Before and after layer 1" in said and "all its heads and the MLP" in said
    assert "after layer 0 → after layer 1" in said
    assert page.inner_text("#details .lens-steps li").split() == ["word", "13.9%", "→", "yes", "23.9%"]


def test_no_token_of_the_lens_breaks_out(show):
    circuit, scores = random_circuit(60, SMALL)
    token = "</script><img src=x onerror=alert(1)>\n"
    text = to_html(circuit, full_report(circuit), "acdc discover", scores, with_lens(circuit, token))
    page = show(text)
    page.click(".lens summary")
    assert page.locator("img").count() == 0
    assert page.locator(".lens td .token").nth(-1).inner_text() == token.replace("\n", "\u23ce")
    blank = show(to_html(circuit, full_report(circuit), "acdc discover", scores, with_lens(circuit, "  ")))
    blank.click(".lens summary")
    assert blank.locator(".lens td .token").nth(-1).inner_text() == "\u2423\u2423"


def test_names_and_roles_of_a_reader_are_shown(show, tmp_path):
    circuit, scores = random_circuit(60, SMALL)
    head = next(edge.id.split("->")[0] for edge in circuit.links if edge.id.startswith("a"))
    (tmp_path / "names.json").write_text(
        f'{{"names": {{"{head}": "mover <b>"}}, "roles": {{"{head}": "moves names"}}}}'
    )
    names = load_names(tmp_path, circuit)
    assert names == Names(names={head: "mover <b>"}, roles={head: "moves names"})
    page = show(to_html(circuit, quick_report(circuit), "acdc discover", scores, None, names))
    node = page.locator(f'[data-id="{head}"]')
    assert node.locator("text").text_content() == "mover <b>"
    node.click()
    said = page.inner_text("#details")
    assert "mover <b>" in said and "moves names" in said and head in said
    for text in ('{"names": {"a99.h0": "x"}}', '{"names": {"m0": ""}}', '{"name": {}}', "["):
        (tmp_path / "names.json").write_text(text)
        with pytest.raises(InputError, match="names.json"):
            load_names(tmp_path, circuit)


def test_names_are_edited_in_the_page_and_downloaded(show, tmp_path):
    circuit, scores = random_circuit(60, SMALL)
    heads = [edge.id.split("->")[0] for edge in circuit.links if edge.id.startswith("a")]
    head, other = heads[0], next(id for id in heads if id != heads[0])
    given = Names(names={other: "old"}, roles={head: "old role"})
    page = show(to_html(circuit, quick_report(circuit), "acdc discover", scores, None, given))
    page.click(f'[data-id="{head}"]')
    assert page.locator("#details .keeping").count() == 0
    page.click("#details .names summary")
    assert page.input_value("#details [data-names='roles']") == "old role"
    page.fill("#details [data-names='names']", '  "><img src=x onerror=alert(1)>  ')
    page.fill("#details [data-names='roles']", "")
    page.press("#details [data-names='names']", "Enter")
    assert page.locator(f'[data-id="{head}"] text').text_content() == '"><img src=x onerror=alert(1)>'
    assert page.locator("img").count() == 0 and "old role" not in page.inner_text("#details")
    assert page.locator("#fold option[value='role']").is_disabled(), "no role is left to fold by"
    with page.expect_download() as download:
        page.click("text=Download names.json")
    assert download.value.suggested_filename == "names.json"
    download.value.save_as(tmp_path / "names.json")
    read = load_names(tmp_path, circuit)
    assert read == Names(names={head: '"><img src=x onerror=alert(1)>', other: "old"})


@pytest.mark.parametrize(
    "words", [("--method", "eap-ig-inputs", "--edges", "12"), ("--method", "acdc", "--limit", "4")]
)
def test_the_same_again_runs_as_printed(acdc, tmp_path, words):
    """The command of the report gives the same circuit."""
    words = ("discover", "--task", "induction", "--verify", "none", *words)
    assert acdc(*words, "--out", "first").code == 0
    page = (tmp_path / "first/report.html").read_text()
    command = page.split('class="command"')[1].split("<code>")[1].split("</code>")[0]
    program, *again = shlex.split(command)
    assert program == "acdc"
    assert acdc(*again, "--verify", "none", "--out", "second").code == 0
    assert (tmp_path / "first/circuit.json").read_bytes() == (tmp_path / "second/circuit.json").read_bytes()
