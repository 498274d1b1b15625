"""How faithful a circuit is, in one word, by a rule that is said with it."""

from dataclasses import dataclass
from enum import StrEnum

from acdc.artefacts.verification.faithfulness import FAITHFUL
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.report import Report
from acdc.render.verdict import number, own_faithfulness, percent, spread

PARTLY = 0.5  # the least share of a behaviour that is part of it; 1 - PARTLY more than all is as far off
RULE = (
    f"Faithful: the circuit alone recovers {FAITHFUL:.0%} to {2 - FAITHFUL:.0%} of the behaviour on unseen rows, with "
    f"the whole 95% interval where there is one. Partly: {PARTLY:.0%} to {2 - PARTLY:.0%}. Not: anything else. "
    f"Above 100% it overshoots: it does more than the full model."
)


class Word(StrEnum):
    """The verdict on a circuit."""

    faithful = "faithful"
    partly = "partly faithful"
    not_faithful = "not faithful"
    untested = "untested"


@dataclass(frozen=True)
class Judgement:
    """A word, and why, in a sentence."""

    word: Word
    why: str


def judge(report: Report) -> Judgement:
    """What the verification says of faithfulness alone, under the ablation and by the metric of discovery."""
    if not report.rows:
        return Judgement(Word.untested, f"Not verified: {report.reason}.")
    value = report.faithfulness
    if value is None:
        full = number(report.measures[report.metric].full)
        return Judgement(Word.untested, f"Full model and empty circuit have the same {report.metric}, {full}.")
    own = own_faithfulness(report)
    interval = own.denoised if own is not None and own.denoised.low is not None else None
    said = f"{percent(value)}" if interval is None else spread(interval)
    return Judgement(_word(value, interval), f"The circuit alone recovers {said} of the behaviour{_beyond(value)}.")


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
