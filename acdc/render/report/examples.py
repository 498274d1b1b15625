"""Example rows as tokens, with what the full model and the circuit make of them; the script draws the patterns."""

from collections.abc import Sequence
from typing import Any

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.examples import Example, Examples
from acdc.render.report.markup import Markup, element, facts, join, paragraph
from acdc.render.report.sections import bar, section
from acdc.render.verdict import number, percent
from acdc.words import count_of

UNITS = 1000  # of attention, in what the page holds
MOST_ANSWERS = 3


def examples_section(examples: Examples | None, circuit: Circuit) -> Markup:
    """Nothing where there are none."""
    if examples is None or not examples.rows:
        return Markup("")
    text = (
        f"{count_of(len(examples.rows), 'row')} of {examples.of}. Tokens that differ between the clean and the "
        "corrupted prompt are marked; the answer follows the outlined token."
    )
    if any(example.later for example in examples.rows):
        text += " Where several tokens are outlined, their answers follow each other in that order."
    if examples.no_patterns:
        text += f" There are no attention patterns: {examples.no_patterns}."
    elif examples.heads:
        text += (
            f" Below each row are the attention patterns of the circuit's {len(examples.heads)} strongest heads in the "
            "full model's clean run: rows attend to columns, darker is more. Hover, or focus and use the arrow keys."
        )
    rows = [_row(place, example, circuit) for place, example in enumerate(examples.rows)]
    return section("examples", "Examples", paragraph(text), *rows)


def first_example(examples: Examples | None) -> Markup:
    """One row in a sentence: its clean prompt and answer, its corrupted prompt. Nothing where there is none."""
    if examples is None or not examples.rows:
        return Markup("")
    row = examples.rows[0]
    said = f"For example: \u201c{_text(row.clean, row.answer)}\u201d"
    if row.correct:
        said += f" \u2192 {_answer(row.correct)}"
    if row.incorrect:
        said += f", not {_answer(row.incorrect)}"
    if row.corrupted is not None:
        said += f"; corrupted: \u201c{_text(row.corrupted, row.answer)}\u201d"
    return paragraph(f"{said}.", "first-example")


def _text(tokens: Sequence[str], answer: int) -> str:
    """A prompt as it is read, up to where its answer follows."""
    between = "" if any(token.startswith(" ") for token in tokens) else " "
    return visible(between.join(tokens[: answer + 1])).strip()


def _answer(tokens: Sequence[str]) -> str:
    return " or ".join(f"\u201c{visible(token).strip()}\u201d" for token in tokens[:MOST_ANSWERS])


def example_data(examples: Examples | None) -> dict[str, Any] | None:
    """Patterns and what the logit lens says, for the script, in thousandths.

    The lens of a row takes at most about 50 KB: 64 tokens are shown and 33 depths read at most.
    """
    if examples is None or not (examples.heads or any(example.lens for example in examples.rows)):
        return None
    return {
        "heads": examples.heads,
        "units": UNITS,
        "rows": [
            {
                "start": example.start,
                "tokens": example.clean,
                "answer": example.answers[-1].answer,
                "patterns": [[[round(UNITS * v) for v in row] for row in pattern] for pattern in example.patterns],
                "lens": _lens(example),
            }
            for example in examples.rows
        ],
    }


def _lens(example: Example) -> dict[str, Any] | None:
    if example.lens is None:
        return None
    read = example.lens.model_dump(mode="json")
    correct = {_seen(token) for token in example.correct}
    tokens = [_seen(token) for token in example.lens.tokens]
    said = "probability of the correct answer" + ("s together" if len(correct) > 1 else "")
    return read | {"tokens": tokens, "correct": sorted(correct), "said": said, "answer": example.answer}


def _seen(token: str) -> str:
    """A token that shows even where it is nothing but blanks."""
    shown = visible(token)
    return shown if shown.strip() else "\u2423" * len(shown)


def _row(place: int, example: Example, circuit: Circuit) -> Markup:
    heading = example.row if example.group is None else f"{example.row}, {example.group}"
    shown = len(example.clean)
    note = ""
    if shown < example.length:
        note = paragraph(
            f"Shown are positions {example.start} to {example.start + shown - 1} of {example.length}.", "quiet"
        )
    rows = [
        ("clean", tokens(example, circuit)),
        *([] if example.corrupted is None else [("corrupted", tokens(example, circuit, example.corrupted))]),
        ("correct", _answers([answers.correct for answers in example.answers])),
        ("incorrect", _answers([answers.incorrect for answers in example.answers])),
        (circuit.metric, f"full model {number(example.full)}, circuit {number(example.circuit)}"),
    ]
    patterns = element("div", "", class_="patterns", data_row=str(place))
    said = [note, _predictions(example), _lens_holder(place, example)]
    return element(
        "article", join([element("h3", heading), facts(rows), *filter(None, said), patterns]), class_="example"
    )


def _lens_holder(place: int, example: Example) -> Markup:
    """The script draws the table when it is opened."""
    if example.lens is None:
        return Markup("")
    summary = element("summary", "Logit lens: the likeliest next token after each layer")
    return element("details", summary, class_="lens", data_row=str(place))


def _predictions(example: Example) -> Markup:
    """What full model and circuit say next, side by side."""
    if example.predictions is None:
        return Markup("")
    right, lists = set(example.correct), []
    for name, found in (("full model", example.predictions.full), ("circuit", example.predictions.circuit)):
        items = [
            element(
                "li",
                join(
                    [
                        element("span", visible(one.token), class_="token right" if one.token in right else "token"),
                        bar(one.share),
                        element("span", percent(one.share), class_="figure"),
                    ]
                ),
            )
            for one in found
        ]
        lists.append(element("div", join([element("h4", f"Next token, {name}"), element("ol", join(items))])))
    return element("div", join(lists), class_="predictions")


def tokens(example: Example, circuit: Circuit, shown: Sequence[str] | None = None) -> Markup:
    """The clean prompt's tokens or others in their place, which say what span of the circuit they are in."""
    corrupted = example.clean if example.corrupted is None else example.corrupted
    spans, written, answered = spans_of(example, circuit), [], {answers.answer for answers in example.answers}
    for place, token in enumerate(example.clean if shown is None else shown):
        differs, last = example.clean[place] != corrupted[place], place in answered
        kind = " ".join(["token", *(["differs"] if differs else []), *(["last"] if last else [])])
        span = {"data_span": spans[place]} if spans else {}
        written.append(element("span", visible(token), class_=kind, data_place=str(place), **span))
    return element("span", Markup("".join(written)), class_="tokens")


def spans_of(example: Example, circuit: Circuit) -> Sequence[str]:
    """For each token that is shown, the span or position that it is in; none where the circuit has none, or the example
    does not say."""
    if circuit.spans is None or not circuit.spans.named:
        return [] if circuit.spans is None else [str(example.start + i) for i in range(len(example.clean))]
    return example.spans or []


def _answers(each: Sequence[Sequence[str]]) -> Markup:
    """The tokens of every answer of a row."""
    return Markup(" \u00b7 ".join(map(_tokens, each)))


def _tokens(tokens: Sequence[str]) -> Markup:
    if not tokens:
        return element("span", "none given", class_="quiet")
    return element(
        "span", Markup("".join(element("span", visible(t), class_="token") for t in tokens)), class_="tokens"
    )


def visible(token: str) -> str:
    """A token with signs in the place of line breaks and tabs."""
    return token.replace("\n", "\u23ce").replace("\t", "\u21e5") or "\u2205"
