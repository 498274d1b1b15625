"""What the verification of a circuit shows, in sentences that the terminal and the report share.

A claim is shown if an interval or a corrected test supports it, and not shown if it was measured and not supported. It
is open if it was not measured, or without an interval or a test, or on fewer than `FEWEST_UNITS` rows; if the test has
too little power at this number of rows; or if a test that could have spoken against it found nothing, which is no
evidence for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.completeness import Completeness
from acdc.artefacts.verification.faithfulness import FAITHFUL, Faithfulness
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.minimality import TOLERANCE, Minimality, MinimalityLevel
from acdc.artefacts.verification.over_sizes import Integrated
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.artefacts.verification.report import Report
from acdc.artefacts.verification.rivals import Rivals
from acdc.artefacts.verification.sampling import Unit
from acdc.artefacts.verification.specificity import Harm, Specificity
from acdc.artefacts.verification.stability import Bootstraps, Stability
from acdc.artefacts.verification.test_result import TestResult
from acdc.options import Extent
from acdc.render.few_rows import too_few
from acdc.render.size import size_notes
from acdc.render.subject import Subject
from acdc.words import are, count_of


def verdict(circuit: Circuit, report: Report) -> str:
    """The result in a few sentences."""
    notes, said = " ".join(size_notes(circuit)), verdict_of(Subject.of(circuit), report)
    return f"{notes} {said}" if notes else said


def verdict_of(subject: Subject, report: Report) -> str:
    """The same without what is to be said of the circuit's size."""
    if not report.rows:
        return f"Not verified: {report.reason}."
    measure = report.measures[report.metric]
    share = "is undefined, because full model and empty circuit score the same"
    if measure.faithfulness is not None:
        share = f"is {measure.faithfulness:.1%}"
    of = "" if report.unseen in (None, report.rows) else f" of {report.unseen}"
    rows = "row" if report.rows == 1 and not of else "rows"
    text = (
        f"On {report.rows}{of} {rows} that discovery did not see, faithfulness {share} "
        f"({report.metric} {measure.circuit:.4g}; full model {measure.full:.4g}, "
        f"every {subject.everything} ablated {measure.empty:.4g}). {removals_text(report, subject.parts)}"
    )
    if report.duplicates:
        said = "duplicates or mirrors" if report.duplicates == 1 else "duplicate or mirror"
        text += f" {report.duplicates} of these rows {said} a row of discovery."
    if not report.complete:
        text += f" {UNFINISHED}"
    return text


UNFINISHED = "The verification is not finished: 'acdc verify RUN' completes it."


def removals_text(report: Report, parts: str) -> str:
    """How many of a circuit's parts are needed, of those that were removed one by one."""
    sample, measured = report.sample, len(report.removals)
    if not measured and sample is not None and sample.is_whole:
        return f"It has no {parts} to remove."
    if not measured:
        return f"Its {parts} have not been removed one by one."
    threshold = needed_threshold(report)
    on = "" if sample is None or sample.rows == report.rows else f" on {count_of(sample.rows, 'row')}"
    if sample is None or sample.is_whole:
        return f"{report.needed:,} of its {measured:,} {parts} {are(report.needed)} needed{on}: {threshold}."
    drawn = measured - sample.strongest
    which = f"the {sample.strongest} strongest" + (f" and {drawn:,} drawn at random" if drawn else "")
    return (
        f"Of its {sample.parts:,} {parts}, {which} were removed one by one{on}. {report.needed:,} of these "
        f"{measured:,} are needed: {threshold}. Of all {sample.parts:,} {parts}, an estimated {spread(sample.needed)} "
        "are needed, as those drawn at random stand for all but the strongest."
    )


def needed_threshold(report: Report) -> str:
    """What it means that a part is needed."""
    worse = f"makes {report.metric} worse by more than {number(report.tolerance)}"
    return f"removing any one of them {worse} ({TOLERANCE:.1%} of what lies between full model and empty circuit)"


def planned_text(plan: VerificationPlan) -> str:
    """What a verification will measure."""
    text = f"verifying: metrics on {count_of(plan.rows, 'unseen row')}"
    if plan.random:
        text += f", {count_of(plan.random, 'random circuit')} on {plan.random_rows}"
    if plan.removed:
        text += f", {count_of(len(plan.removed), 'single removal')} on {plan.removal_rows}"
    if plan.extent is Extent.full:
        text += ", then intervals, tests and the other parts of a full verification"
    return f"{text} (at most {plan.flops / 1e12:.1f} TFLOP{' before that' if plan.extent is Extent.full else ''})"


def percent(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{0.0 if abs(value) < 5e-4 else value:.1%}"


def between(shares: Sequence[float]) -> str:
    """The least and the largest of some shares, or one where these are shown alike."""
    low, high = percent(min(shares)), percent(max(shares))
    return low if low == high else f"{low} to {high}"


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
        f"after the same ablation of a random part of the circuit in both, circuit and full model differ by "
        f"{number(complete.difference.value)} in {metric}, {spread(complete.share)} of its range, on average over "
        f"{complete.knockouts} such parts (0% is complete)"
    )


def minimal_text(minimal: Minimality, report: Report) -> str:
    sets = (
        f" (tried {count_of(minimal.subsets_tried, 'set of edges', 'sets of edges')})" if minimal.subsets_tried else ""
    )
    needed = f"{minimal.needed:,} of {count_of(len(minimal.parts), 'edge')} {are(minimal.needed)} needed"
    if report.sample is not None and not report.sample.is_whole:
        removed = f"of the {len(minimal.parts):,} edges that were removed, out of {report.sample.parts:,}"
        needed = f"{removed}, {minimal.needed:,} {are(minimal.needed)} needed"
    return f"{minimal.level.value}{sets}; {needed}: {needed_threshold(report)}"


def fewer_text(full_verification: FullVerification) -> str:
    """What a full verification measured on fewer rows than the metrics."""
    parts = ", ".join(f"{what} ({rows})" for what, rows in full_verification.fewer_rows.items())
    return f"measured on fewer rows to stay within the budget: {parts}"


def sizes_text(sizes: Integrated) -> str:
    return (
        f"CMD {number(sizes.cmd)} (best: 0), CPR {number(sizes.cpr)} (1 recovers all, larger is possible), "
        f"for circuits chosen by {sizes.basis}"
    )


def stable_text(stability: Stability) -> str:
    return (
        f"{count_of(stability.repeats, 'discovery', 'discoveries')} on {stability.rows_each} of "
        f"{count_of(stability.rows, 'row')} each; {len(stability.core):,} "
        f"{'edge' if len(stability.core) == 1 and stability.what == 'edges' else stability.what} "
        f"{are(len(stability.core))} stable, {len(stability.abstained)} undecided, and {len(stability.unstable)} "
        f"of the circuit's {stability.what} unstable; two discoveries share {stability.jaccard:.1%} of their "
        f"{stability.what} on average"
    )


NO_POWER = 0.005  # of a test that cannot reject anything
POWER = 0.8  # of a test: below it, a result that is not significant leaves the claim open


class Standing(StrEnum):
    """How a claim stands."""

    shown = "shown"
    not_shown = "not shown"
    open = "open"


@dataclass(frozen=True)
class Claim:
    """What is claimed in a word or two, how it stands, and its numbers. `option`: of 'acdc verify', which measures it
    where that was not done."""

    name: str
    standing: Standing
    text: str
    option: str = ""


def claims(circuit: Circuit, report: Report) -> list[Claim]:
    """All claims about a circuit, the most important first."""
    return claims_of(Subject.of(circuit), report)


def claims_of(subject: Subject, report: Report) -> list[Claim]:
    if not report.rows:
        text = f"Not verified: {report.reason}."
        if report.extent is not Extent.none:
            text += " Discover on fewer rows (--limit) to leave some for verification."
        return [Claim("faithfulness", Standing.open, text)]
    found = [_faithfulness(subject, report), *_random(subject, report)]
    if report.full_verification is None:
        text = (
            "Not measured: intervals, other ablations, completeness, minimality, and tests against chance. 'acdc "
            'verify RUN\' measures them, in Python acdc.verify with extent="full".'
        )
        found.append(Claim("full verification", Standing.open, text))
    else:
        found += _in_full(report, report.full_verification)
    if few := too_few(report):
        found = [replace(claim, standing=Standing.open, text=f"{few}. {claim.text}") for claim in found]
    again = [*_stability(report), *_extras(subject, report)] if subject.searched_again else []
    return [*found, *again, *_duplicates(report)]


def own_faithfulness(report: Report) -> Faithfulness | None:
    """Under the ablation and by the metric of discovery, with intervals; None without a full verification."""
    under = report.full_verification.faithfulness if report.full_verification else []
    return next((f for f in under if (f.ablation, f.metric) == (report.ablation, report.metric)), None)


def resampled(report: Report) -> Unit:
    """What intervals take for independent."""
    sampling = report.full_verification.sampling if report.full_verification else None
    return "row" if sampling is None else sampling.unit


def better(larger: bool) -> str:
    return "higher is better" if larger else "lower is better"


def _faithfulness(subject: Subject, report: Report) -> Claim:
    measure, own = report.measures[report.metric], own_faithfulness(report)
    numbers = (
        f"{report.metric} is {number(measure.circuit)} for the circuit, {number(measure.full)} for the full model and "
        f"{number(measure.empty)} with every {subject.everything} ablated ({better(subject.larger_is_better)}; "
        f"{report.ablation} ablation, {count_of(report.rows, 'row')} that discovery did not see)"
    )
    if measure.faithfulness is None:
        return Claim(
            "faithfulness",
            Standing.not_shown,
            f"It is undefined, because full model and empty circuit score the same: {numbers}.",
        )
    share, within = percent(measure.faithfulness), FAITHFUL <= measure.faithfulness <= 2 - FAITHFUL
    if own is None or own.denoised.low is None:
        standing = Standing.open if within else Standing.not_shown
        share += " (no interval: " + (
            "only a full verification has one)" if own is None else f"too few {resampled(report)}s)"
        )
    else:
        standing = Standing.shown if own.holds else Standing.not_shown
        share = f"{spread(own.denoised)} (95% bootstrap interval over {resampled(report)}s)"
    line = (
        ""
        if standing is Standing.shown
        else f" It counts as faithful if the whole interval lies between {FAITHFUL:.0%} and {2 - FAITHFUL:.0%}."
    )
    text = f"The circuit alone recovers {share} of the behaviour: {numbers}.{line}"
    return Claim("faithfulness", standing, text)


def _random(subject: Subject, report: Report) -> Iterator[Claim]:
    known = [value for value in report.random.faithfulness if value is not None] if report.random else []
    if not known or report.faithfulness is None:
        return
    beaten = sum(value < report.faithfulness for value in known)
    text = (
        f"The circuit does better than {beaten} of {count_of(len(known), 'random circuit')} of at most as many "
        f"{subject.units}, which recover {between(known)}."
    )
    yield Claim("better than chance", Standing.open if beaten == len(known) else Standing.not_shown, text)


def _in_full(report: Report, full_verification: FullVerification) -> Iterator[Claim]:
    own = own_faithfulness(report)
    if own is not None and own.noised.value is not None:
        few, lost = own.noised.low is None, own.noised.low is not None and own.noised.low >= FAITHFUL
        text = f"Ablating only the circuit loses {spread(own.noised)} of the behaviour."
        standing = Standing.shown if lost else Standing.open if few else Standing.not_shown
        yield Claim("no backup outside the circuit", standing, text)
    yield from _ablations(report, full_verification)
    if full_verification.completeness:
        share = full_verification.completeness.share
        holds = share.high is not None and share.high <= 1 - FAITHFUL
        found = complete_text(full_verification.completeness, report.metric)
        text = f"{_sentence(found)} It counts as complete if the interval lies below {1 - FAITHFUL:.0%}."
        standing = Standing.shown if holds else Standing.open if share.high is None else Standing.not_shown
        yield Claim("completeness", standing, text)
    if full_verification.minimality:
        shown = full_verification.minimality.level in (MinimalityLevel.local, MinimalityLevel.subset)
        text = _sentence(minimal_text(full_verification.minimality, report))
        yield Claim("minimality", Standing.shown if shown else Standing.not_shown, text)
    yield from map(_test, full_verification.tests)
    sampling = full_verification.sampling
    if sampling is not None and sampling.too_few_groups:
        yield Claim("other groups", Standing.open, _sentence(sampling.text))
    for name, reason in full_verification.left_out.items():
        yield Claim(name, Standing.open, f"Not measured: {reason}.")
    if full_verification.fewer_rows:
        yield Claim("all rows", Standing.open, _sentence(fewer_text(full_verification)))


def _ablations(report: Report, full_verification: FullVerification) -> Iterator[Claim]:
    under = [f for f in full_verification.faithfulness if f.metric == report.metric and f.denoised.value is not None]
    others = [f"{f.ablation} {spread(f.denoised)}" for f in under if f.ablation != report.ablation]
    if not others:
        return
    numbers = f"Recovered under other ablations: {'; '.join(others)}."
    if full_verification.only_under is None:
        text = f"Faithful under all {len(under)} ablations, whole intervals included. {numbers}"
        yield Claim("under every ablation", Standing.shown, text)
    else:
        text = f"{faithful_under(full_verification.only_under)} {numbers}"
        yield Claim("under every ablation", Standing.not_shown, text)


def faithful_under(ablations: list[str]) -> str:
    """Under which ablations alone a circuit is faithful, in a sentence."""
    if not ablations:
        return "Faithful under no ablation, whole interval included."
    return f"Faithful, whole interval included, only under: {', '.join(ablations)}."


def _test(test: TestResult) -> Claim:
    return Claim(test.name, _standing(test), _sentence(result_text(test)))


def _standing(test: TestResult) -> Standing:
    if not test.testable:
        return Standing.open
    if test.rejected:
        return Standing.shown if test.speaks == "for" else Standing.not_shown
    weak = test.power is not None and test.power < POWER
    return Standing.open if weak or test.speaks == "against" else Standing.not_shown


def result_text(test: TestResult) -> str:
    """The result of a test in one sentence, without its full stop."""
    if not test.testable:
        return f"not testable: {test.reason}"
    if test.power is not None and test.power < NO_POWER and not test.rejected:
        return f"{test.size} are too few for this test, whatever the result"
    weak = "" if test.power is None or test.rejected else f"; power at {count_of(test.n, test.unit)}: {test.power:.0%}"
    return f"{_result(test)} (p = {number(test.adjusted)} after correction over all tests{weak})"


def _result(test: TestResult) -> str:
    share = 0.0 if test.effect is None else test.effect
    wins = f"the circuit beats the full model on {share:.0%} of {test.unit}s"
    if share < 0.5:
        wins = f"the full model beats the circuit on {1 - share:.0%} of {test.unit}s"
    many = (
        f"all {count_of(test.n, 'random circuit')}"
        if share == 1
        else f"{percent(share)} of {count_of(test.n, 'random circuit')}"
    )
    of_size, of_degrees = f"{many} of the same size", f"{many} with as many edges at every component"
    rejected, kept = {
        "equivalence": (f"{wins}, so the two are not equivalent", f"{wins}, which does not show a difference"),
        "indistinguishable": (
            f"{wins}, so neither beats the other much more often",
            f"{wins}, which does not show that the two are indistinguishable",
        ),
        "independence": (
            "with the circuit ablated, the scores still depend on those of the full model, so part of the behaviour "
            "lies outside the circuit",
            "with the circuit ablated, no dependence on the scores of the full model was found",
        ),
        "sufficiency": (
            f"the circuit recovers more than {of_size}",
            f"the circuit recovers more than {of_size}, which is not enough",
        ),
        "sufficiency, degrees": (
            f"the circuit recovers more than {of_degrees}",
            f"the circuit recovers more than {of_degrees}, which is not enough",
        ),
        "necessity": (
            f"ablating the circuit does more harm than ablating {of_size}",
            f"ablating the circuit does more harm than ablating {of_size}, which is not enough",
        ),
    }.get(test.name, (f"rejected: {test.null}", f"not rejected: {test.null}"))
    return rejected if test.rejected else kept


def _stability(report: Report) -> Iterator[Claim]:
    if report.stability is None:
        text = "Not measured: whether other rows give the same edges. 'acdc verify RUN --stability 20' measures it."
        yield Claim("stability", Standing.open, text, "--stability 20")
        return
    steady = not report.stability.unstable and not report.stability.abstained
    text = _sentence(stable_text(report.stability))
    yield Claim("stability", Standing.shown if steady else Standing.not_shown, text)
    for what, repeats in (("seeds", report.stability.seeds), ("templates", report.stability.templates)):
        if repeats is not None and repeats.each:
            shares = [repeat.jaccard for repeat in repeats.each]
            text = (
                f"Discoveries with other {what} have a Jaccard overlap of {between(shares)} with the circuit's edges."
            )
            same = Standing.shown if min(shares) == 1 else Standing.not_shown
            yield Claim(f"the same with other {what}", same, text)


LITTLE, STEADY, MOST_SHARED = 0.2, 0.8, 0.5  # of a behaviour that is lost; of edges in common


def _extras(subject: Subject, report: Report) -> Iterator[Claim]:
    """What is measured only if asked for."""
    if report.bootstraps is not None:
        text = f"{_sentence(bootstraps_text(report.bootstraps))} It counts as stable from {STEADY:.0%}."
        steady = report.bootstraps.jaccard >= STEADY
        yield Claim("stability over resampled rows", Standing.shown if steady else Standing.not_shown, text)
    if report.specificity is None:
        text = (
            "Not measured: whether it matters for other tasks too. 'acdc verify RUN --against OTHER', with a run of "
            "another task in this model, measures it."
        )
        yield Claim("specificity", Standing.open, text, "--against OTHER_RUN")
    else:
        text = (
            f"{_sentence(specificity_text(report.specificity))} The circuit counts as specific if ablating it loses "
            f"less than {LITTLE:.0%} of every other behaviour, whole interval included, and more of its own."
        )
        yield Claim("specificity", _specific(report.specificity), text)
    if report.rivals is not None:
        best = next(iter(report.rivals.reaching), None)
        rivalled = best is not None and best.jaccard < MOST_SHARED
        text = _sentence(rivals_text(report.rivals))
        yield Claim("no rival circuit", Standing.not_shown if rivalled else Standing.open, text)
    elif subject.of_edges:
        text = "Not measured: whether another circuit does as well. 'acdc verify RUN --rivals 3' searches for one."
        yield Claim("no rival circuit", Standing.open, text, "--rivals 3")


def bootstraps_text(found: Bootstraps) -> str:
    low, mean, high = found.to_circuit
    how = "by averaging the scores of single rows" if found.averaged else "by searching again"
    return (
        f"two circuits found on resampled rows share {percent(found.jaccard)} of their edges on average over "
        f"{count_of(found.count, 'bootstrap')} ({how}; {found.sampling.text}); with the circuit they share "
        f"{percent(low)} to {percent(high)}, on average {percent(mean)}"
    )


def specificity_text(found: Specificity) -> str:
    theirs = ", ".join(f"{spread(harm.lost)} of {harm.task}" for harm in found.to_others)
    ours = ", ".join(f"that of {harm.circuit} {spread(harm.lost)}" for harm in found.by_others)
    return (
        f"ablating the circuit in the full model loses {spread(found.own.lost)} of its own behaviour, "
        f"{found.own.task}, and {theirs}; of the circuits of other tasks, ablating {ours} of this behaviour"
    )


def _specific(found: Specificity) -> Standing:
    own = found.own.lost.low
    if own is None or any(harm.lost.low is None for harm in found.to_others):
        return Standing.open
    apart = all(_is_little(harm) and own > (harm.lost.high or 0.0) for harm in found.to_others)
    return Standing.shown if apart else Standing.not_shown


def _is_little(harm: Harm) -> bool:
    low, high = harm.lost.low, harm.lost.high
    return low is not None and high is not None and max(-low, high) < LITTLE


def rivals_text(found: Rivals) -> str:
    searches = count_of(len(found.each), "search", "searches")
    what = f"{searches} without edges of the circuit that the model can do without"
    near = f"a circuit within {percent(found.gap)} of the full model on the discovery rows"
    if not found.reaching:
        return f"of {what}, none finds {near}"
    best = found.reaching[0]
    same = f"it shares {best.shared:,} of the circuit's {count_of(found.edges, 'edge')}"
    unseen = "" if best.faithfulness is None else f", and recovers {spread(best.faithfulness)} on unseen rows"
    return (
        f"of {what}, {len(found.reaching)} {'finds' if len(found.reaching) == 1 else 'find'} {near}; the one with the "
        f"smallest overlap has {count_of(best.edges, 'edge')}{unseen}: {same} (Jaccard {percent(best.jaccard)})"
    )


def _duplicates(report: Report) -> Iterator[Claim]:
    if report.duplicates:
        said = "repeats or mirrors" if report.duplicates == 1 else "repeat or mirror"
        new = "it is not new" if report.duplicates == 1 else "they are not new"
        text = f"{report.duplicates} of the {count_of(report.rows, 'row')} {said} a row of discovery: {new}."
        yield Claim("unseen rows", Standing.not_shown, text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
