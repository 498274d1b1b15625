"""A few rows to look at (`examples.json`): tokens, what the full model and the circuit make of them, and where the
circuit's strongest heads attend in the full model's clean runs.

It holds no path and no time: the same run gives the same bytes.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.examples import (
    Example,
    Examples,
    LaterAnswer,
    Lens,
    Pattern,
    Prediction,
    Predictions,
)
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.threads import fixed_threads
from acdc.graph import Edge, Writer, WriterKind
from acdc.model.load import Model
from acdc.task.metrics import METRICS
from acdc.task.rows import Row, Task
from acdc.task.spans import REST
from acdc.verification.attention import clean_patterns
from acdc.verification.binding import behaviour_of, check_same
from acdc.verification.lens import logit_lens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_ROWS, MOST_HEADS, MOST_TOKENS, DECIMALS = 4, 12, 64, 4
MOST_PREDICTED = 5
NO_PATTERNS = "the model is run by its own modules, which keep their patterns"


def take_examples(model: Model, task: Task, circuit: Circuit) -> Examples:
    """Examples of a circuit's verification rows, or where there are none, of its discovery rows.

    Raises InputError for another model or task than those that the circuit was found with.
    """
    check_same(model, task, circuit)
    side: Literal["verification", "discovery"] = "verification" if circuit.task.verification else "discovery"
    rows = _pick(task, circuit.task.verification or circuit.task.discovery)
    spans = circuit.spans is not None and circuit.spans.named
    has_patterns = hasattr(model.components, "patterns")
    heads = strongest_heads(circuit) if has_patterns else []
    with fixed_threads(circuit.batch.threads):
        behaviour = behaviour_of(model, task, circuit, [row.id for row in rows], METRICS[circuit.metric])
        full, own = behaviour.full(), behaviour.measure(circuit.ablated)[0, 0]
        patterns = _patterns(behaviour, heads)
        predicted = _predictions(behaviour, circuit, model)
        lenses = logit_lens(behaviour, [_window(row) for row in rows], partial(_text, model.tokenizer))
    return Examples(
        of=side,
        metric=circuit.metric,
        heads=[head.id for head in heads],
        rows=[
            _example(row, model.tokenizer, whole, part, found, spans, next_tokens, lens)
            for row, whole, part, found, next_tokens, lens in zip(
                rows, full.tolist(), own.tolist(), patterns, predicted, lenses, strict=True
            )
        ],
        no_patterns=None if has_patterns else NO_PATTERNS,
    )


def strongest_heads(circuit: Circuit) -> list[Writer]:
    """The heads of a circuit by the largest |score| of an edge out of them, at most `MOST_HEADS`."""
    strength: dict[Writer, float] = defaultdict(float)
    for scored in circuit.links:
        writer = Edge.parse(scored.id).writer
        if writer.kind is WriterKind.HEAD:
            strength[writer] = max(strength[writer], abs(scored.score))
    return sorted(strength, key=lambda head: (-strength[head], head.layer, head.head))[:MOST_HEADS]


def _pick(task: Task, ids: list[str]) -> list[Row]:
    """The first rows of each group in turn, those that can be shown whole before longer ones."""
    wanted = set(ids)
    turns: dict[str | None, int] = defaultdict(int)
    ranked = []
    for place, row in enumerate(row for row in task.rows if row.id in wanted):
        ranked.append((len(row.clean) > MOST_TOKENS, turns[row.group], place, row))
        turns[row.group] += 1
    return [row for *_, row in sorted(ranked, key=lambda one: one[:3])[:MOST_ROWS]]


def _window(row: Row) -> slice:
    """The positions that are shown: all, or of long rows those up to the last answer."""
    if len(row.clean) <= MOST_TOKENS:
        return slice(0, len(row.clean))
    stop = max(row.last_answer + 1, MOST_TOKENS)
    return slice(stop - MOST_TOKENS, stop)


def _example(
    row: Row,
    tokenizer: "PreTrainedTokenizerBase | None",
    full: float,
    circuit: float,
    patterns: list[Pattern],
    with_spans: bool,
    predictions: Predictions | None,
    lens: Lens | None,
) -> Example:
    def texts(ids: Sequence[int | None]) -> list[str]:
        return ["" if token is None else _text(tokenizer, token) for token in ids]

    shown = _window(row)
    first, *later = (
        LaterAnswer(answer=one.position - shown.start, correct=texts(one.correct), incorrect=texts(one.incorrect))
        for one in row.answers
        if one.position >= shown.start
    )
    return Example(
        row=row.id,
        group=row.group,
        start=shown.start,
        length=len(row.clean),
        clean=texts(row.clean[shown]),
        corrupted=None if (other := row.counterparts) is None else texts(other[shown]),
        answer=first.answer,
        correct=first.correct,
        incorrect=first.incorrect,
        full=_rounded(full),
        circuit=_rounded(circuit),
        patterns=patterns,
        spans=_span_names(row)[shown] if with_spans else None,
        later=later,
        predictions=predictions,
        lens=lens,
    )


def _text(tokenizer: "PreTrainedTokenizerBase | None", token: int) -> str:
    return f"#{token}" if tokenizer is None else str(tokenizer.decode([token]))


@torch.no_grad()
def _predictions(behaviour: Behaviour, circuit: Circuit, model: Model) -> list[Predictions | None]:
    """By row, at its first answer; None for a model whose output is a number."""
    found: list[Predictions | None] = [None] * len(behaviour.rows)
    if model.anatomy.d_vocab_out == 1:
        return found
    for number, batch in enumerate(behaviour.batches):
        prompts = behaviour.prompts_without(number, circuit.ablated)
        logits, each = behaviour.logits(batch, prompts, circuit.ablated, None), batch.answers.each
        for place, index in enumerate(batch.index):
            full, own = (_likeliest(of[place * each], model) for of in (batch.answers.full_logits, logits))
            found[index] = Predictions(full=full, circuit=own)
    return found


def _likeliest(logits: Tensor, model: Model) -> list[Prediction]:
    """Of logits [V]; of equals, those with the lower number first."""
    shares, ids = logits.double().softmax(-1).sort(descending=True, stable=True)
    pairs = zip(ids[:MOST_PREDICTED].tolist(), shares[:MOST_PREDICTED].tolist(), strict=True)
    return [Prediction(token=_text(model.tokenizer, token), share=_rounded(share)) for token, share in pairs]


def _span_names(row: Row) -> list[str]:
    """By position of the clean prompt."""
    assert row.spans is not None
    names = (*row.spans.names, REST)
    return [names[number] for number in row.spans.numbers(len(row.clean))]


def _rounded(value: float) -> float:
    """To six digits, which are enough to look at."""
    return float(f"{value:.6g}")


@torch.no_grad()
def _patterns(behaviour: Behaviour, heads: list[Writer]) -> list[list[Pattern]]:
    """By row, by head."""
    found: list[list[Pattern]] = [[[] for _ in heads] for _ in behaviour.rows]
    for batch in behaviour.batches:
        for layer in sorted({head.layer for head in heads}):
            patterns = clean_patterns(behaviour, batch, layer)
            for place, head in enumerate(heads):
                if head.layer == layer:
                    for row, index in enumerate(batch.index):
                        found[index][place] = _cut(patterns[head.head, row], _window(behaviour.rows[index]))
    return found


def _cut(pattern: Tensor, shown: slice) -> Pattern:
    rows = [[round(value, DECIMALS) for value in row] for row in pattern[shown, shown].double().tolist()]
    for row in rows:
        while row and row[-1] == 0:
            row.pop()
    return rows
