"""What notebooks show of a result and of a report: HTML on white paper, as the pictures are, whatever the theme."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.report import Report
from acdc.render.escaping import escape
from acdc.render.judgement import judge
from acdc.render.style import FAINT, INK, PAPER, QUIET
from acdc.render.svg import to_svg
from acdc.render.verdict import between, removals_text
from acdc.words import count_of

STRONGEST, MOST_ROWS = 10, 40
_CARD = (
    f"background:{PAPER};color:{INK};border:1px solid {FAINT};border-radius:6px;padding:12px 16px;overflow-x:auto;"
    "font:13px/1.5 Helvetica,Arial,sans-serif"
)
_TABLE = f"border-collapse:collapse;font:inherit;background:{PAPER};color:{INK}"


def circuit_html(circuit: Circuit) -> str:
    """The picture of a found circuit, and its strongest edges or nodes."""
    strongest = sorted(circuit.parts, key=lambda part: (-abs(part.score), part.id))[:STRONGEST]
    rows = [[part.id, f"{part.score:+.4g}"] for part in strongest]
    names = circuit.part_name
    title = f"strongest {len(rows)} of {len(circuit.parts)} {names}"
    return _card(to_svg(circuit), *_table(title, (names.removesuffix("s"), "score"), rows))


def report_html(report: Report) -> str:
    """What was shown, in a sentence, and every metric; with its interval where `verify` was asked for all."""
    if not report.rows:
        return _card(f"<p>Not verified: {escape(report.reason or 'no rows were left')}.</p>")
    spans = _intervals(report)
    rows = [
        [
            name,
            *(f"{v:.4g}" for v in (m.full, m.circuit, m.complement, m.empty)),
            spans.get(name, _share(m.faithfulness)),
        ]
        for name, m in report.measures.items()
    ]
    head = ("metric", "full model", "circuit", "complement", "empty circuit", "faithfulness")
    title = f"{count_of(report.rows, 'row')} that discovery did not see, {report.ablation} ablation"
    found = judge(report)
    said = f"<p><b>{escape(found.said.capitalize())}.</b> {escape(found.why)}</p>"
    return _card(said, f"<p>{escape(_sizes(report))}</p>", *_table(title, head, rows))


def _sizes(report: Report) -> str:
    """Of how much, what single removals and what random circuits of its size say."""
    text = f"{report.edges:,} of {report.edges_total:,} edges. {removals_text(report, 'parts')}"
    known = [value for value in report.random.faithfulness if value is not None] if report.random else []
    return f"{text} {count_of(len(known), 'random circuit')} of its size: {between(known)}." if known else text


def table_html(title: str, records: Iterable[Mapping[str, Any]]) -> str:
    """Rows with the same columns; of many the first."""
    first = list(islice(records, MOST_ROWS + 1))
    if not first:
        return _card(f"<p>{escape(title)}</p>")
    rows = [[_cell(value) for value in record.values()] for record in first[:MOST_ROWS]]
    below = f"<p>The first {MOST_ROWS} rows: to_dataframe() gives all.</p>" if len(first) > MOST_ROWS else ""
    return _card(*_table(title, list(first[0]), rows), below)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _intervals(report: Report) -> dict[str, str]:
    """Faithfulness with its interval by metric, under the circuit's own ablation, where it was verified in full."""
    verified = report.full_verification.faithfulness if report.full_verification else []
    found = {one.metric: one.denoised for one in verified if one.ablation == report.ablation}
    return {
        metric: f"{_share(span.value)} [{_share(span.low)}, {_share(span.high)}]"
        for metric, span in found.items()
        if span.low is not None
    }


def _share(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.1%}"


def _card(*parts: str) -> str:
    return f'<div style="{_CARD}">{"".join(parts)}</div>'


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(tag: str, cells: Sequence[str]) -> str:
        looks = ["text-align:left", *["text-align:right"] * (len(cells) - 1)]
        pairs = zip(looks, cells, strict=True)
        inner = "".join(
            f'<{tag} style="{look};padding:2px 12px 2px 0;color:{INK}">{escape(cell)}</{tag}>' for look, cell in pairs
        )
        return f'<tr style="background:{PAPER}">{inner}</tr>'

    body = "".join(line("td", row) for row in rows)
    caption = f'<div style="color:{QUIET};margin-top:8px">{escape(title)}</div>'
    return [caption, f'<table style="{_TABLE}"><thead>{line("th", head)}</thead><tbody>{body}</tbody></table>']
