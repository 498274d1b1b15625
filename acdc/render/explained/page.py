"""The page of a unit, without a script: examples with their tokens shaded by activation, tokens, histogram."""

from collections import Counter
from collections.abc import Iterator
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from acdc.render.explained.words import heading, share_rows, summary
from acdc.render.report.markup import Markup, element, facts, join, paragraph, safe

if TYPE_CHECKING:
    from acdc.explanation.explain import Explained, ShownExample
    from acdc.explanation.tokens import Weighted

_WIDTH, _HEIGHT = 480, 90


def to_html(found: "Explained", command: str, back: str = "") -> str:
    """The page as text; `command` made it. `back`: where the report of its run is, if it is a page of one."""
    examples = found.examples
    told = [
        ("command", command),
        ("model", found.model),
        ("read", f"{examples.corpus}: {examples.prompts:,} prompts, {examples.tokens:,} tokens"),
    ]
    return Template((resources.files(__package__) / "page.html").read_text(encoding="utf-8")).substitute(
        title=safe(heading(found)),
        heading=safe(heading(found)),
        subtitle=safe(summary(found)),
        back=element("p", element("a", "Back to the report", href=back)) if back else "",
        parts=join(_parts(found)),
        facts=facts(told),
    )


def _parts(found: "Explained") -> Iterator[Markup]:
    largest = max(abs(found.examples.smallest), abs(found.examples.largest)) or 1.0
    least = dict(found.examples.quantiles).get(0.5, 0.0) if found.kind == "head" else 0.0  # a norm is never 0
    sides = {"raises": found.raises, "lowers": found.lowers, "excited by": found.excited, "silenced by": found.silenced}
    tables = [_tokens(name, pairs) for name, pairs in sides.items() if pairs]
    if found.head is not None:
        tables += [_tokens("attending to says (OV)", found.head.ov), _tokens("query to key (QK)", found.head.qk)]
        rows = join(
            element("tr", join(element("td", cell or "-") for cell in row)) for row in share_rows(found.head.shares)
        )
        head = element("tr", join(element("th", name) for name in ("attends to", "share", "evenly")))
        yield element("section", element("h2", "Attention") + element("table", Markup(head + rows)))
    if tables:
        yield element("section", element("h2", "By its weights alone") + element("div", join(tables), class_="columns"))
    if found.neighbours:
        yield element("section", element("h2", "In the circuit") + _neighbours(found))
    if found.examples.histogram:
        yield element("section", element("h2", "Activations") + _histogram(found))
    for name, shown in found.shown:
        body = join(_example(one, least, largest) for one in shown)
        yield element("section", element("h2", name) + body)


def _neighbours(found: "Explained") -> Markup:
    """A table, and what it leaves out."""
    rows = [element("tr", join(element("td", cell) for cell in one.cells)) for one in found.neighbours]
    head = element("tr", join(element("th", name) for name in ("", "component", "score of the edge")))
    counts = Counter(one.direction for one in found.neighbours)
    every = {one.direction: one.among for one in found.neighbours}
    cut = [f"{count} of {every[name]} that it {name}" for name, count in counts.items() if count < every[name]]
    said = [f"Shown: {'; '.join(cut)}."] if cut else []
    if any(one.score is None for one in found.neighbours):
        said.append("Components were chosen for this circuit, so that its edges have no scores of their own.")
    return element("table", join([head, *rows])) + paragraph(" ".join(said), "quiet")


def _tokens(name: str, pairs: "Weighted") -> Markup:
    rows = join(
        element("tr", element("td", repr(token) if "->" not in token else token) + element("td", f"{value:+.3g}"))
        for token, value in pairs
    )
    return element("table", element("tr", element("th", name) + element("th", "")) + rows)


def _example(one: "ShownExample", least: float, largest: float) -> Markup:
    """Its tokens, darker from an activation of `least` to one of `largest`."""
    spaced = any(token.startswith(" ") for token in one.tokens)
    pieces = []
    for place, (token, value) in enumerate(zip(one.tokens, one.activations, strict=True)):
        share = min(1.0, max(0.0, abs(value) - least) / ((largest - least) or 1.0)) if place else 0.0
        colour = "235, 110, 52" if value > 0 else "52, 110, 235"
        name = "b" if place == one.at else "span"
        style = f"background: rgba({colour}, {share:.2f})"
        pieces.append(element(name, token if spaced else f"{token} ", style=style, title=f"{value:.3g}"))
    return element("div", Markup("".join(pieces)), class_="example")


def _histogram(found: "Explained") -> Markup:
    counts, edges = found.examples.histogram, found.examples.edges
    highest, step = max(counts) or 1, _WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{_HEIGHT * (1 - count / highest):.1f}" width="{step - 1:.1f}" '
        f'height="{_HEIGHT * count / highest:.1f}" fill="#6d7f8f"/>'
        for place, count in enumerate(counts)
    )
    told = f"{sum(counts):,} active tokens, from {edges[0]:.3g} to {edges[-1]:.3g}"
    picture = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">{bars}</svg>'
    return Markup(picture) + element("p", told, class_="quiet")
