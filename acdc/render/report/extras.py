"""Sections of the page for what was measured only because it was asked for."""

from acdc.artefacts.verification.report import Report
from acdc.render.extras import HARMS, RIVALS, harms_table, rivals_table
from acdc.render.report.markup import Markup, paragraph, table
from acdc.render.report.sections import MOST_PARTS, section
from acdc.render.verdict import bootstraps_text, percent, rivals_text, specificity_text


def specificity(report: Report) -> Markup:
    """What circuits do to each other's tasks."""
    found = report.specificity
    if found is None:
        return Markup("")
    rows = ", ".join(f"{task.rows} of {task.name} ({task.metric})" for task in found.tasks)
    caption = f"The {HARMS}; shared: edges that this circuit has too; {found.ablation} ablation, unseen rows: {rows}."
    return section("specificity", "Specificity", _said(specificity_text(found)), table(caption, *harms_table(found)))


def rivals(report: Report) -> Markup:
    """Other circuits that do the same."""
    found = report.rivals
    if found is None:
        return Markup("")
    caption = f"{RIVALS[:1].upper()}{RIVALS[1:]}."
    if not found.whole:
        caption += " The budget ended before every edge of the circuit was tried, so that some may have stayed in vain."
    return section("rivals", "Rivals", _said(rivals_text(found)), table(caption, *rivals_table(found), words=[7]))


def bootstraps(report: Report) -> Markup:
    """How often each edge of the circuit was found on resampled rows."""
    found = report.bootstraps
    if found is None:
        return Markup("")
    order = sorted(found.frequencies.items(), key=lambda edge: (edge[1], edge[0]))[:MOST_PARTS]
    rows = [[name, percent(share)] for name, share in order]
    caption = "Edges of the circuit by how often they were found on resampled rows, the rarest first."
    if len(found.frequencies) > MOST_PARTS:
        caption += f" The table has the first {MOST_PARTS} of {len(found.frequencies):,}, verification.json all."
    return section("resamples", "Resamples", _said(bootstraps_text(found)), table(caption, ["edge", "found in"], rows))


def _said(text: str) -> Markup:
    return paragraph(f"{text[:1].upper()}{text[1:]}.")
