"""How faithful a circuit is, in one word, by a rule that is said with it."""

from dataclasses import dataclass
from enum import StrEnum

from acdc.artefacts.verification.faithfulness import FAITHFUL
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.report import Report
from acdc.render.verdict import number, own_faithfulness, percent, spread

PARTLY = 0.5  # the least share of a behaviour that is part of it; 1 - PARTLY more than all is as far off
ACCURACY = "accuracy"
RULE = (
    f"Faithful: the circuit alone recovers {FAITHFUL:.0%} to {2 - FAITHFUL:.0%} of the behaviour on unseen rows, in "
    f"the metric of discovery, with the whole 95% interval where there is one. Partly: {PARTLY:.0%} to "
    f"{2 - PARTLY:.0%}. Not: anything else. Above 100% it overshoots: it does more than the full model."
)


class Word(StrEnum):
    """The verdict on a circuit."""

    faithful = "faithful"
    partly = "partly faithful"
    not_faithful = "not faithful"
    untested = "untested"


@dataclass(frozen=True)
class Judgement:
    """A word, and why, in a sentence or two. `certain`: an interval stands behind it."""

    word: Word
    why: str
    certain: bool = True

    @property
    def said(self) -> str:
        """The word, and where no interval stands behind faithfulness, that there is none."""
        return f"{self.word}, without an interval" if self.word is Word.faithful and not self.certain else self.word


def judge(report: Report) -> Judgement:
    """What the verification says of faithfulness alone, under the ablation and by the metric of discovery. Other
    metrics do not change the word; of a circuit that is at least partly faithful, those that it fails in are named."""
    if not report.rows:
        return Judgement(Word.untested, f"Not verified: {report.reason}.")
    value = report.faithfulness
    if value is None:
        full = number(report.measures[report.metric].full)
        return Judgement(Word.untested, f"Full model and empty circuit have the same {report.metric}, {full}.")
    own = own_faithfulness(report)
    interval = own.denoised if own is not None and own.denoised.low is not None else None
    said = f"{percent(value)}" if interval is None else spread(interval)
    why = f"The circuit alone recovers {said} of the behaviour in {report.metric}{_beyond(value)}."
    word = _word(value, interval)
    if word is not Word.not_faithful and (less := _less(report, value)):
        *others, last = less
        why += f" It recovers less in {', '.join(others) + ' and ' if others else ''}{last}."
    return Judgement(word, why, interval is not None)


def _less(report: Report, value: float) -> list[str]:
    """Other measured metrics of which the circuit recovers less than counts as faithful, and less than of its own; of
    accuracy, the share of what the full model has."""
    found = []
    for name, measure in report.measures.items():
        if name == ACCURACY and measure.full > 0:
            share, text = measure.circuit / measure.full, f"{number(measure.circuit)} of {number(measure.full)}"
        elif measure.faithfulness is not None:
            share, text = measure.faithfulness, percent(measure.faithfulness)
        else:
            continue
        if name != report.metric and share < min(FAITHFUL, value):
            found.append(f"{name} ({text})")
    return found


def _word(value: float, interval: Interval | None) -> Word:
    low, high = (value, value) if interval is None else (interval.low or 0.0, interval.high or 0.0)
    if low >= FAITHFUL and high <= 2 - FAITHFUL:
        return Word.faithful
    return Word.partly if PARTLY <= value <= 2 - PARTLY else Word.not_faithful


def _beyond(value: float) -> str:
    """That a circuit does more than the model, where that is not within what counts as faithful."""
    if value <= 2 - FAITHFUL:
        return ""
    return ", which is overshooting: what was left out works against it"
