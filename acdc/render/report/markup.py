"""Pieces of HTML: text is escaped unless it is `Markup` already."""

from collections.abc import Iterable, Sequence

from acdc.artefacts.verification.interval import Interval
from acdc.render.escaping import escape

WIDTH, HEIGHT = 168.0, 18.0  # of an interval that is drawn in a table


class Markup(str):
    """Text that is HTML; what is added to it is escaped unless it is too."""

    def __add__(self, other: str) -> "Markup":
        return Markup(str(self) + str(safe(other)))


def safe(text: str) -> Markup:
    return text if isinstance(text, Markup) else Markup(escape(text))


def join(parts: Iterable[str]) -> Markup:
    return Markup("\n".join(safe(part) for part in parts))


def element(name: str, content: str, **attributes: str) -> Markup:
    """`class_` and the like lose their underscore."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{told}>{safe(content)}</{name}>")


def paragraph(text: str, class_: str = "") -> Markup:
    return element("p", text, class_=class_) if class_ else element("p", text)


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> Markup:
    """A table that can be sorted by its columns; the first and those of `words` hold no numbers."""
    text = {0, *words}
    names = join(
        element("th", element("button", name, type="button"), scope="col", class_="word" if place in text else "figure")
        for place, name in enumerate(head)
    )
    body = join(
        element("tr", join(_cell(cell, place, place in text) for place, cell in enumerate(row))) for row in rows
    )
    whole = element("caption", caption) + element("thead", element("tr", names)) + element("tbody", body)
    return element("div", element("table", Markup(whole), class_="sortable"), class_="scroll")


def _cell(cell: str, place: int, word: bool) -> Markup:
    if place == 0:
        return element("th", cell, scope="row", class_="word")
    return element("td", cell, class_="word" if word else "figure")


def facts(rows: Iterable[tuple[str, str]]) -> Markup:
    """Names with what they are."""
    return element("dl", join(element("dt", name) + element("dd", value) for name, value in rows), class_="facts")


def drawn(interval: Interval, low: float, high: float, marks: Sequence[float] = ()) -> Markup:
    """An interval as a bar with a dot on a scale from `low` to `high`, cut off there; `marks` are values to compare."""
    if interval.value is None:
        return Markup("")

    def x(value: float) -> float:
        return 4 + (WIDTH - 8) * (min(max(value, low), high) - low) / (high - low)

    middle = HEIGHT / 2
    parts = [f'<line class="axis" x1="4" x2="{WIDTH - 4:.0f}" y1="{middle}" y2="{middle}"/>']
    parts += [f'<line class="mark" x1="{x(m):.1f}" x2="{x(m):.1f}" y1="2" y2="{HEIGHT - 2:.0f}"/>' for m in marks]
    if interval.low is not None and interval.high is not None:
        parts.append(
            f'<line class="range" x1="{x(interval.low):.1f}" x2="{x(interval.high):.1f}" y1="{middle}" y2="{middle}"/>'
        )
    parts.append(f'<circle class="dot" cx="{x(interval.value):.1f}" cy="{middle}" r="3.5"/>')
    return Markup(
        f'<svg class="interval" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" aria-hidden="true">{"".join(parts)}</svg>'
    )
