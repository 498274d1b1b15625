"""Example rows as tokens, with what the full model and the circuit make of them; the script draws the patterns."""

from collections.abc import Sequence
from typing import Any

from acdc.artefacts.verification.examples import Example, Examples
from acdc.render.report.markup import Markup, element, facts, join, paragraph
from acdc.render.report.sections import section
from acdc.render.verdict import number
from acdc.words import count_of

UNITS = 1000  # of attention, in what the page holds


def examples_section(examples: Examples | None) -> Markup:
    """Nothing where there are none."""
    if examples is None or not examples.rows:
        return Markup("")
    text = (
        f"{count_of(len(examples.rows), 'row')} of {examples.of}. Tokens that differ between the clean and the "
        "corrupted prompt are marked; the answer follows the outlined token."
    )
    if examples.no_patterns:
        text += f" There are no attention patterns: {examples.no_patterns}."
    elif examples.heads:
        text += (
            f" Below each row are the attention patterns of the circuit's {len(examples.heads)} strongest heads in the "
            "full model's clean run: rows attend to columns, darker is more. Hover, or focus and use the arrow keys."
        )
    rows = [_row(place, example, examples.metric) for place, example in enumerate(examples.rows)]
    return section("examples", "Examples", paragraph(text), *rows)


def example_data(examples: Examples | None) -> dict[str, Any] | None:
    """Patterns for the script, in thousandths."""
    if examples is None or not examples.heads:
        return None
    return {
        "heads": examples.heads,
        "units": UNITS,
        "rows": [
            {
                "start": example.start,
                "tokens": example.clean,
                "answer": example.answer,
                "patterns": [[[round(UNITS * v) for v in row] for row in pattern] for pattern in example.patterns],
            }
            for example in examples.rows
        ],
    }


def _row(place: int, example: Example, metric: str) -> Markup:
    corrupted = example.clean if example.corrupted is None else example.corrupted
    differs = [a != b for a, b in zip(example.clean, corrupted, strict=True)]
    heading = example.row if example.group is None else f"{example.row}, {example.group}"
    shown = len(example.clean)
    note = ""
    if shown < example.length:
        note = paragraph(
            f"Shown are positions {example.start} to {example.start + shown - 1} of {example.length}.", "quiet"
        )
    rows = [
        ("clean", _tokens(example.clean, differs, example.answer)),
        *([] if example.corrupted is None else [("corrupted", _tokens(corrupted, differs, example.answer))]),
        ("correct", _answers(example.correct)),
        ("incorrect", _answers(example.incorrect)),
        (metric, f"full model {number(example.full)}, circuit {number(example.circuit)}"),
    ]
    patterns = element("div", "", class_="patterns", data_row=str(place))
    return element(
        "article", join([element("h3", heading), facts(rows), *filter(None, [note]), patterns]), class_="example"
    )


def _tokens(tokens: Sequence[str], differs: Sequence[bool], answer: int) -> Markup:
    spans = []
    for place, (token, other) in enumerate(zip(tokens, differs, strict=True)):
        kind = " ".join(["token", *(["differs"] if other else []), *(["last"] if place == answer else [])])
        spans.append(element("span", visible(token), class_=kind, data_place=str(place)))
    return element("span", Markup("".join(spans)), class_="tokens")


def _answers(tokens: Sequence[str]) -> Markup:
    if not tokens:
        return element("span", "none given", class_="quiet")
    return element(
        "span", Markup("".join(element("span", visible(t), class_="token") for t in tokens)), class_="tokens"
    )


def visible(token: str) -> str:
    """A token with signs in the place of line breaks and tabs."""
    return token.replace("\n", "\u23ce").replace("\t", "\u21e5") or "\u2205"
