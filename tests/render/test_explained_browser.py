"""The page of a unit in headless Chromium: no wider than a phone, and honest about what it lists."""

import pytest

from acdc.explanation.examples import Examples
from acdc.explanation.explain import Explained, Neighbour, ShownExample
from acdc.render.explained.page import to_html


def explained(score: float | None) -> Explained:
    examples = Examples(
        corpus="words", prompts=2, tokens=8, frequency=1.0, smallest=0.5, largest=2.0, quantiles=((0.5, 1.0),),
        histogram=(3, 4, 1) * 12, edges=(0.5, 1.0, 2.0), groups=(),
    )  # fmt: skip
    neighbours = [Neighbour("reads from", "input", score, port, 3) for port in "qkv"]
    neighbours += [Neighbour("writes to", f"a2.h{head}<v>", score, among=19) for head in range(10)]
    shown = ShownExample(tokens=("<bos>", "one", "two"), activations=(2.0, 0.9, 2.0), at=2)
    return Explained(
        unit="a1.h3", kind="head", model="trio", dictionary=None, examples=examples, shown=(("Top", (shown,)),),
        raises=None, lowers=None, excited=None, silenced=None, head=None, neighbours=tuple(neighbours),
    )  # fmt: skip


@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_is_as_wide_as_its_window(show, width):
    page = show(to_html(explained(0.25), "acdc explain", "../report.html"), viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    said = page.inner_text("main")
    assert "input, into its q" in said and "10 of 19 that it writes to" in said and "+0.25" in said
    assert page.get_attribute("a", "href") == "../report.html"


def test_a_score_of_a_component_is_not_one_of_its_edges(show):
    page = show(to_html(explained(None), "acdc explain"))
    assert "no scores of their own" in page.inner_text("main") and "+0" not in page.inner_text("main table")
    colours = page.eval_on_selector_all(".example > *", "all => all.map(e => getComputedStyle(e).backgroundColor)")
    assert colours[1].endswith(", 0)") and not colours[2].endswith(", 0)"), "darker from the median of the norms on"
