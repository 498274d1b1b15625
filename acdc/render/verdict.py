"""What was shown of a circuit and what was not, in sentences: the terminal and the report say the same.

A claim counts as shown where an interval or a corrected test bears it out, as not shown where that was tried and
failed, and as open where it was not looked at, or where a test found nothing against it, which proves nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.completeness import Completeness
from acdc.artefacts.verification.faithfulness import FAITHFUL, Faithfulness
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.minimality import Level as Minimal
from acdc.artefacts.verification.minimality import Minimality
from acdc.artefacts.verification.over_sizes import Integrated
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.artefacts.verification.report import Report
from acdc.artefacts.verification.stability import Stability
from acdc.artefacts.verification.test_result import TestResult
from acdc.options import Extent


def verdict(circuit: Circuit, report: Report) -> str:
    """What was shown, in a sentence or two."""
    if not report.rows:
        return f"Not verified: {report.reason}."
    measure = report.measures[report.metric]
    share = "cannot be stated: full model and empty circuit score alike"
    if measure.faithfulness is not None:
        share = f"is {measure.faithfulness:.1%}"
    of = "" if report.unseen in (None, report.rows) else f" of {report.unseen}"
    text = (
        f"On {report.rows}{of} rows that discovery did not see, faithfulness {share} "
        f"({report.metric} {measure.circuit:.4g}; full model {measure.full:.4g}, "
        f"every edge ablated {measure.empty:.4g}). {removals_text(report, circuit.part_name)}"
    )
    if report.duplicates:
        text += f" {report.duplicates} of these rows duplicate or mirror a row of discovery."
    if not report.complete:
        text += f" {UNFINISHED}"
    return text


UNFINISHED = "The verification is not finished: 'acdc verify RUN' completes it."


def removals_text(report: Report, parts: str) -> str:
    """How many of a circuit's parts it needs, as far as they were removed one by one."""
    sample, measured = report.sample, len(report.removals)
    if not measured:
        return f"Its {parts} have not been removed one by one."
    if sample is None or (sample.is_whole and sample.rows == report.rows):
        return f"{report.needed} of its {measured:,} {parts} make it worse when removed alone."
    on = "" if sample.rows == report.rows else f" on {sample.rows} rows"
    if sample.is_whole:
        return f"{report.needed:,} of its {measured:,} {parts} make it worse when removed alone{on}."
    drawn = measured - sample.strongest
    which = f"the {sample.strongest} strongest" + (f" and {drawn:,} drawn at random" if drawn else "")
    return (
        f"Of its {sample.parts:,} {parts}, {which} were removed one by one{on}: {report.needed} of these "
        f"{measured:,} make it worse, which puts the share of all {parts} that it needs at {spread(sample.needed)}."
    )


def planned_text(plan: VerificationPlan) -> str:
    """What a verification is going to measure."""
    text = f"verifying: metrics on {plan.rows} unseen rows"
    if plan.random:
        text += f", {plan.random} random circuits on {plan.random_rows}"
    if plan.removed:
        text += f", {len(plan.removed):,} single removals on {plan.removal_rows}"
    if plan.extent is Extent.full:
        text += ", then intervals, tests and all that a full verification adds"
    return f"{text} (at most {plan.flops / 1e12:.1f} TFLOP{' before that' if plan.extent is Extent.full else ''})"


def percent(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{0.0 if abs(value) < 5e-4 else value:.1%}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def spread(interval: Interval) -> str:
    """A share with its interval, in per cent."""
    if interval.value is None:
        return "-"
    if interval.low is None:
        return f"{interval.value:.1%}"
    return f"{interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def complete_text(complete: Completeness, metric: str) -> str:
    return (
        f"with {complete.knockouts} random parts of the circuit knocked out of both, circuit and "
        f"model differ by {number(complete.difference.value)} in {metric} on average, "
        f"{spread(complete.share)} of its range (0% is complete)"
    )


def minimal_text(minimal: Minimality, report: Report) -> str:
    sets = f", as trying {minimal.subsets_tried:,} sets of edges has shown" if minimal.subsets_tried else ""
    needed = f"{minimal.needed:,} of {len(minimal.parts):,} edges are needed"
    if report.sample is not None and not report.sample.is_whole:
        removed = f"of the {len(minimal.parts):,} edges that were removed, out of {report.sample.parts:,}"
        needed = f"{removed}, {minimal.needed:,} are needed"
    return (
        f"{minimal.level.value}{sets}; {needed}: "
        f"removing any of them makes {report.metric} worse by more than {number(minimal.tolerance)}"
    )


def fewer_text(full_verification: FullVerification) -> str:
    """What an full verification measured on fewer rows than the metrics."""
    parts = ", ".join(f"{what} ({rows})" for what, rows in full_verification.fewer_rows.items())
    return f"to stay within the budget, measured on fewer rows: {parts}"


def sizes_text(sizes: Integrated) -> str:
    return (
        f"CMD {number(sizes.cmd)} (0 is best), CPR {number(sizes.cpr)} (1 is all, more is possible) of circuits chosen "
        f"by {sizes.basis}"
    )


def stable_text(stability: Stability) -> str:
    return (
        f"{stability.repeats} discoveries on {stability.rows_each} of {stability.rows} rows each; "
        f"{len(stability.core)} edges are stable, {len(stability.abstained)} cannot be told, {len(stability.unstable)} "
        f"of the circuit's are unstable; two discoveries share {stability.jaccard:.1%} of their edges on average"
    )


class Standing(StrEnum):
    """How a claim stands."""

    shown = "shown"
    not_shown = "not shown"
    open = "open"


@dataclass(frozen=True)
class Claim:
    """What is claimed, in a word or two, how it stands, and the numbers of it."""

    name: str
    standing: Standing
    text: str


def claims(circuit: Circuit, report: Report) -> list[Claim]:
    """All that can be said of a circuit, the most important first."""
    if not report.rows:
        text = f"Not verified: {report.reason}."
        if report.extent is not Extent.none:
            text += " Discover on fewer rows (--limit) to leave some for verification."
        return [Claim("faithfulness", Standing.open, text)]
    found = [_faithfulness(circuit, report), *_random(circuit, report)]
    if report.full_verification is None:
        text = (
            "Not looked at: intervals, other ablations, completeness, minimality, and tests against chance. 'acdc "
            "verify RUN' does that."
        )
        found.append(Claim("audit", Standing.open, text))
    else:
        found += _audited(report, report.full_verification)
    return [*found, *_stability(report), *_duplicates(report)]


def own_faithfulness(report: Report) -> Faithfulness | None:
    """Under the ablation and by the metric of discovery, with intervals; None without an full verification."""
    under = report.full_verification.faithfulness if report.full_verification else []
    return next((f for f in under if (f.ablation, f.metric) == (report.ablation, report.metric)), None)


def better(larger: bool) -> str:
    return "higher is better" if larger else "lower is better"


def _faithfulness(circuit: Circuit, report: Report) -> Claim:
    measure, own = report.measures[report.metric], own_faithfulness(report)
    numbers = (
        f"{report.metric} is {number(measure.circuit)} for the circuit, {number(measure.full)} for the full model and "
        f"{number(measure.empty)} with every edge ablated ({better(circuit.larger_is_better)}; {report.ablation} "
        f"ablation, {report.rows} rows that discovery did not see)"
    )
    if measure.faithfulness is None:
        return Claim(
            "faithfulness", Standing.not_shown, f"It cannot be stated, as full and empty are alike: {numbers}."
        )
    share, within = percent(measure.faithfulness), FAITHFUL <= measure.faithfulness <= 2 - FAITHFUL
    if own is None or own.denoised.low is None:
        standing = Standing.open if within else Standing.not_shown
        share += " (without an interval, as there " + ("was no audit)" if own is None else "are too few rows)")
    else:
        standing = Standing.shown if own.holds else Standing.not_shown
        share = f"{spread(own.denoised)} (95% bootstrap interval over rows)"
    line = (
        "" if standing is Standing.shown else f" Faithful is {FAITHFUL:.0%} to {2 - FAITHFUL:.0%}, interval included."
    )
    text = f"The circuit alone recovers {share} of the behaviour: {numbers}.{line}"
    return Claim("faithfulness", standing, text)


def _random(circuit: Circuit, report: Report) -> Iterator[Claim]:
    known = [value for value in report.random.faithfulness if value is not None] if report.random else []
    if not known or report.faithfulness is None:
        return
    beaten = sum(value < report.faithfulness for value in known)
    text = (
        f"It does better than {beaten} of {len(known)} random circuits of at most as many {circuit.units.plural}, "
        f"which recover {percent(min(known))} to {percent(max(known))}."
    )
    yield Claim("better than chance", Standing.open if beaten == len(known) else Standing.not_shown, text)


def _audited(report: Report, full_verification: FullVerification) -> Iterator[Claim]:
    own = own_faithfulness(report)
    if own is not None and own.noised.value is not None:
        few, lost = own.noised.low is None, own.noised.low is not None and own.noised.low >= FAITHFUL
        text = f"Ablating the circuit alone loses {spread(own.noised)} of the behaviour; 100% is all of it."
        standing = Standing.shown if lost else Standing.open if few else Standing.not_shown
        yield Claim("nothing stands in for it", standing, text)
    yield from _ablations(report, full_verification)
    if full_verification.completeness:
        share = full_verification.completeness.share
        holds = share.high is not None and share.high <= 1 - FAITHFUL
        found = complete_text(full_verification.completeness, report.metric)
        text = f"{_sentence(found)} Up to {1 - FAITHFUL:.0%} counts as shown."
        standing = Standing.shown if holds else Standing.open if share.high is None else Standing.not_shown
        yield Claim("completeness", standing, text)
    if full_verification.minimality:
        shown = full_verification.minimality.level in (Minimal.local, Minimal.subset)
        text = _sentence(minimal_text(full_verification.minimality, report))
        yield Claim("minimality", Standing.shown if shown else Standing.not_shown, text)
    yield from map(_test, full_verification.tests)
    for name, reason in full_verification.left_out.items():
        yield Claim(name, Standing.open, f"Not measured, as {reason}.")
    if full_verification.fewer_rows:
        yield Claim("all rows", Standing.open, _sentence(fewer_text(full_verification)))


def _ablations(report: Report, full_verification: FullVerification) -> Iterator[Claim]:
    under = [f for f in full_verification.faithfulness if f.metric == report.metric and f.denoised.value is not None]
    others = [f"{f.ablation} {spread(f.denoised)}" for f in under if f.ablation != report.ablation]
    if not others:
        return
    numbers = f"recovered under other ablations: {'; '.join(others)}"
    if full_verification.only_under is None:
        text = f"Faithful for certain under all {len(under)} ablations; {numbers}."
        yield Claim("whatever the ablation", Standing.shown, text)
    else:
        names = ", ".join(full_verification.only_under) or "none"
        yield Claim(
            "whatever the ablation", Standing.not_shown, f"Faithful for certain only under: {names}; {numbers}."
        )


def _test(test: TestResult) -> Claim:
    if not test.testable:
        return Claim(test.name, Standing.open, f"Not testable: {test.reason}.")
    chance = f"p = {number(test.adjusted)} after correction over all tests"
    power = "" if test.power is None else f"; power {test.power:.0%} where {test.power_at}"
    if test.rejected:
        standing = Standing.shown if test.speaks == "for" else Standing.not_shown
        return Claim(
            test.name, standing, f"Rejected: that {test.null} ({chance}). This speaks {test.speaks} the circuit."
        )
    standing = Standing.not_shown if test.speaks == "for" else Standing.open
    rest = "" if test.speaks == "for" else " That is no proof of it."
    return Claim(test.name, standing, f"Not rejected: that {test.null} ({chance}{power}).{rest}")


def _stability(report: Report) -> Iterator[Claim]:
    if report.stability is None:
        text = "Not looked at: whether other rows give the same edges. 'acdc verify RUN --stability 20' does that."
        yield Claim("stability", Standing.open, text)
        return
    steady = not report.stability.unstable and not report.stability.abstained
    text = _sentence(stable_text(report.stability))
    yield Claim("stability", Standing.shown if steady else Standing.not_shown, text)
    for what, repeats in (("seeds", report.stability.seeds), ("templates", report.stability.templates)):
        if repeats is not None and repeats.each:
            shares = [repeat.jaccard for repeat in repeats.each]
            text = (
                f"Discoveries with other {what} share {percent(min(shares))} to {percent(max(shares))} of their edges "
                "with the circuit (of those that either has)."
            )
            same = Standing.shown if min(shares) == 1 else Standing.not_shown
            yield Claim(f"the same with other {what}", same, text)


def _duplicates(report: Report) -> Iterator[Claim]:
    if report.duplicates:
        text = (
            f"{report.duplicates} of the {report.rows} rows duplicate or mirror a row of discovery: they are not new."
        )
        yield Claim("unseen rows", Standing.not_shown, text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
