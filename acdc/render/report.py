"""A run as one self-contained HTML page: what was found, how far it was shown, the picture, and how to repeat it."""

from collections.abc import Iterable, Sequence
from html import escape

from acdc.circuit.circuit import Circuit
from acdc.render.style import subtitle, title
from acdc.verification.report import Report

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2730; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.quiet { color: #5f6b76; } .picture { overflow-x: auto; border: 1px solid #d8dde2; border-radius: 6px; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 1px solid #8a949e; }
td { font-variant-numeric: tabular-nums; } code { background: #f0f2f4; padding: .1rem .3rem; border-radius: 3px; }
"""


def to_html(circuit: Circuit, report: Report, picture: str, command: str) -> str:
    """The page as text; `picture` is the circuit's SVG, inlined."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f"<title>{escape(title(circuit))}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title(circuit))}</h1>",
            f'<p class="quiet">{escape(subtitle(circuit))}</p>',
            f"<p>{escape(verdict(circuit, report))}</p>",
            f'<div class="picture">{picture}</div>',
            *_measures(report),
            *_removals(circuit, report),
            *_provenance(circuit, command),
            "</body></html>",
            "",
        ]
    )


def verdict(circuit: Circuit, report: Report) -> str:
    """What was shown, in a sentence or two."""
    if not report.rows:
        return f"Not verified: {report.reason}."
    measure = report.measures[report.metric]
    share = "cannot be stated: full model and empty circuit score alike"
    if measure.faithfulness is not None:
        share = f"is {measure.faithfulness:.1%}"
    text = (
        f"On {report.rows} rows that discovery did not see, faithfulness {share} "
        f"({report.metric} {measure.circuit:.4g}; full model {measure.full:.4g}, "
        f"every edge ablated {measure.empty:.4g}). "
        f"{report.needed} of its {len(report.removals)} {circuit.part_name} make it worse when removed alone."
    )
    if report.twins:
        text += f" {report.twins} of these rows duplicate or mirror a row of discovery."
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return [f"<table><thead><tr>{cells}</tr></thead><tbody>", *body, "</tbody></table>"]


def _measures(report: Report) -> list[str]:
    if not report.rows:
        return []
    rows = [
        [name, *(f"{v:.4g}" for v in (m.full, m.circuit, m.complement, m.empty, m.corrupted)), percent(m.faithfulness)]
        for name, m in report.measures.items()
    ]
    head = ["metric", "full model", "circuit", "complement", "all ablated", "corrupted run", "faithfulness"]
    parts = ["<h2>Verification</h2>", *_table(head, rows)]
    if report.random:
        known = [value for value in report.random.faithfulness if value is not None]
        if known:
            parts.append(
                f"<p>{len(known)} random circuits of at most that size: faithfulness "
                f"{percent(min(known))} to {percent(max(known))}.</p>"
            )
    return parts


def percent(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{0.0 if abs(value) < 5e-4 else value:.1%}"


def _removals(circuit: Circuit, report: Report) -> list[str]:
    scores = {part.id: part.score for part in circuit.parts}
    ordered = sorted(report.removals, key=lambda removal: (-abs(removal.change), removal.id))
    rows = [
        [r.id, f"{scores[r.id]:+.4g}", f"{r.change:+.4g}", percent(r.rows_worse), "yes" if r.hurts else "no"]
        for r in ordered
    ]
    if not rows:
        return []
    head = [
        circuit.part_name.removesuffix("s"),
        "score",
        f"change of {report.metric} without it",
        "rows that get worse",
        "needed",
    ]
    return [f"<h2>{circuit.part_name.capitalize()}</h2>", *_table(head, rows)]


def _provenance(circuit: Circuit, command: str) -> list[str]:
    facts = {
        "model": f"{circuit.model.name} ({circuit.model.family}), sha256 {circuit.model.content_hash[:16]}",
        "revision": circuit.model.revision or "-",
        "task": f"{circuit.task.name}, sha256 {circuit.task.content_hash[:16]}",
        "rows": f"{len(circuit.task.discovery)} discovery ({circuit.task.split}), "
        f"{len(circuit.task.verification)} verification",
        "components": circuit.model.components,
        "selection": ", ".join(f"{name} {value:g}" for name, value in circuit.method.selection.items()),
        "scores": circuit.sign_convention,
        "seed, dtype": f"{circuit.seed}, {circuit.dtype}",
        "versions": ", ".join(f"{name} {version}" for name, version in circuit.versions.items()),
    }
    rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return [
        "<h2>How it was made</h2>",
        f"<table>{rows}</table>".replace("<td>", '<td style="text-align:left">'),
        f"<p>Again: <code>{escape(command)}</code></p>",
    ]
