"""How everything that a verification found is printed: tables, each with what its numbers mean."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.mechanism import HeadHint
from acdc.artefacts.verification.report import Report
from acdc.artefacts.verification.stability import Stability
from acdc.artefacts.verification.test_result import TestResult
from acdc.cli.extras import print_extras
from acdc.cli.tables import print_table
from acdc.render.hints import ADDS, EVIDENCE, LABELS, SHARES, evidence_cells, shares_table
from acdc.render.verdict import complete_text, fewer_text, minimal_text, result_text, sizes_text, spread, stable_text

if TYPE_CHECKING:
    from rich.console import Console


def print_verified(report: Report, out: "Console") -> None:
    """All of it."""
    if report.full_verification:
        print_in_full(report, report.full_verification, out)
    if report.stability:
        print_stability(report.stability, out)
    print_extras(report, out)


def print_in_full(report: Report, full_verification: FullVerification, out: "Console") -> None:
    """Tables of all that a full verification found, each with what its numbers mean."""
    if full_verification.sampling is not None:
        out.print(f"\nintervals and tests: {full_verification.sampling.text}", soft_wrap=not out.is_terminal)
    _print_claims(report, full_verification, out)
    _print_tests(full_verification.tests, out)
    _print_details(report, full_verification, out)


def _print_claims(report: Report, full_verification: FullVerification, out: "Console") -> None:
    """How faithful, complete and minimal the circuit is."""
    rows = [[f.ablation, f.metric, spread(f.denoised), spread(f.noised)] for f in full_verification.faithfulness]
    head = ("ablation", "metric", "the circuit alone recovers", "ablating it loses")
    print_table(out, "\nfaithfulness: share of the behaviour [95% interval]", head, rows)
    if any(f.ablation == "optimal" and (f.denoised.value or 0.0) < 0 for f in full_verification.faithfulness):
        out.print(OPTIMAL, soft_wrap=not out.is_terminal)
    if full_verification.only_under is not None:
        under = ", ".join(full_verification.only_under) or "none"
        out.print(f"faithful in {report.metric} (whole interval between 80% and 120%) only under: {under}")
    if full_verification.completeness:
        out.print(
            f"\ncompleteness: {complete_text(full_verification.completeness, report.metric)}",
            soft_wrap=not out.is_terminal,
        )
    if full_verification.minimality:
        out.print(f"\nminimality: {minimal_text(full_verification.minimality, report)}", soft_wrap=not out.is_terminal)
    if full_verification.over_sizes:
        out.print(f"\nover all sizes: {sizes_text(full_verification.over_sizes)}", soft_wrap=not out.is_terminal)
    for name, reason in full_verification.left_out.items():
        out.print(f"not measured: {name}: {reason}", soft_wrap=not out.is_terminal)
    if full_verification.fewer_rows:
        out.print(f"\n{fewer_text(full_verification)}", soft_wrap=not out.is_terminal)


def _print_tests(tests: Sequence[TestResult], out: "Console") -> None:
    """The numbers of each test, then its result in a sentence."""
    print_table(out, "\ntests, corrected together (Holm), at a level of 5%", TESTS, map(_test, tests))
    for test in tests:
        out.print(f"{test.name}: {result_text(test)}", soft_wrap=not out.is_terminal)


def _print_details(report: Report, full_verification: FullVerification, out: "Console") -> None:
    """By groups of rows, by heads, and row by row."""
    head: tuple[str, ...]
    if full_verification.groups:
        head = ("rows of", "rows", "recovered [95% interval]", "circuit right", "full model right")
        rows = [
            [g.group, str(g.rows), spread(g.faithfulness), _share(g.accuracy), _share(g.accuracy_full)]
            for g in full_verification.groups
        ]
        print_table(out, "\ngeneralisation", head, rows)
    if full_verification.hints:
        _print_heads(full_verification.hints, report.metric, out)
    if full_verification.composition:
        strongest = sorted(full_verification.composition, key=lambda c: (c.usual - c.score, c.edge))[:STRONGEST]
        rows = [[c.edge, f"{c.score:.3f}", f"{c.usual:.3f}"] for c in strongest]
        title = (
            "\ncomposition: how much of one head's output the next head reads, by their weights; pairs furthest above "
            "the model's mean"
        )
        print_table(out, title, ("edge", "composition", "model's mean"), rows)
    if full_verification.failures:
        head = ("row", f"{report.metric} of circuit", "of full model", "answer lost")
        rows = [
            [f.row, _number(f.circuit), _number(f.full), {True: "yes", False: "no", None: "?"}[f.wrong]]
            for f in full_verification.failures
        ]
        print_table(out, "\nrows on which the circuit does worst, lost answers first", head, rows)


def _print_heads(hints: Sequence[HeadHint], metric: str, out: "Console") -> None:
    """What heads add directly and what their labels rest on, then where they attend."""
    rows = [[h.id, _number(h.adds.value), *evidence_cells(h)] for h in hints]
    print_table(out, f"\n{ADDS.format(metric=metric)}\n{LABELS}", ("head", f"adds to {metric}", *EVIDENCE), rows)
    for at, text in SHARES.items():
        targets, cells = shares_table(hints, at)
        print_table(out, f"\n{text}", ("head", *targets), [[h.id, *row] for h, row in zip(hints, cells, strict=True)])


STRONGEST = 10
OPTIMAL = "optimal: removed edges carry constants that were learned on the discovery rows, and fit few rows too well"
TESTS = ("test", "made of", "effect", "p", "corrected p", "result", "power")


def _test(test: TestResult) -> list[str]:
    if not test.testable:
        return [test.name, test.size if test.n else "", "", "", "", "not testable", ""]
    values = (_number(value) for value in (test.effect, test.p, test.adjusted))
    result = f"{test.speaks} the circuit" if test.rejected else "not significant"
    return [test.name, test.size, *values, result, _share(test.power)]


def print_stability(stability: Stability, out: "Console") -> None:
    out.print(f"\nstability: {stable_text(stability)}", soft_wrap=not out.is_terminal)
    for what, repeats in (("seeds", stability.seeds), ("templates", stability.templates)):
        if repeats is not None:
            rows = [[repeat.name, str(repeat.edges), _share(repeat.jaccard)] for repeat in repeats.each]
            among = (
                ""
                if repeats.jaccard is None
                else f"; any two share {_share(repeats.jaccard)} of their {stability.what} on average"
            )
            print_table(out, f"\nother {what}{among}", ("discovery", stability.what, "shared with the circuit"), rows)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
