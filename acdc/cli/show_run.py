"""Print a run while it progresses: the circuit first, then each stage of the verification, then the paths of its files.

With --json, one object at the end.
"""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acdc.artefacts.circuit import Circuit, ScoredEdge, ScoredNode
from acdc.artefacts.verification.report import Report
from acdc.cli.console import console, say_json, tell
from acdc.cli.show import STRONGEST, print_stored
from acdc.cli.tables import make_table
from acdc.graph.units import kind_of
from acdc.options import Extent
from acdc.render.few_rows import too_few
from acdc.render.judgement import judge
from acdc.render.size import size_notes
from acdc.render.style import dropped, polished, screened, subtitle, title
from acdc.render.verdict import Claim, Standing, between, claims, number, percent, planned_text, verdict
from acdc.runs.finished import FinishedRun
from acdc.words import count_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SLOW_FLOPS = 3e11  # of a verification: a few seconds, after which the first table is shown before it


class RunPrinter:
    """Called whenever a run has new results; prints those that it has not printed yet."""

    def __init__(self, as_json: bool):
        self._as_json, self._printed = as_json, set[str]()
        self._out = console()

    def __call__(self, run: FinishedRun) -> None:
        if self._as_json:
            return
        report, out, begins = run.report, self._out, "head" not in self._printed
        self._once("head", lambda: self._head(run))
        if begins and run.plan is not None:  # an earlier verification may have used other rows
            if run.plan.flops > SLOW_FLOPS:
                self._once("first table", lambda: self._first_table(run))
            return
        if report.measures:
            self._once("measures", lambda: out.print(measures_table(report, out.width)))
        if report.random is not None or (report.measures and run.plan is None):
            self._once("random", lambda: self._random(run))

    def finish(self, run: FinishedRun, concluded: bool = True) -> None:
        """Print what has not been printed of a finished run. `concluded`: it ends with the verdict in one word, which
        others print with what they print next."""
        if not run.report.rows and run.report.extent is not Extent.none:
            tell(f"acdc: warning: no rows are left for verification: {run.report.reason}")
        if self._as_json:
            for note in size_notes(run.circuit):
                tell(f"acdc: warning: {note}")
            say_json(_record(run))
            return
        self(run)
        out = self._out
        if run.circuit.parts and (run.report.removals or "first table" not in self._printed):
            out.print(_strongest(run, out.width))
            if against := _against(run):
                out.print(against, style="dim italic")
        out.print(f"\n{verdict(run.circuit, run.report)}")
        if concluded and run.report.rows:
            print_word(run.report, out)
        again = concluded and run.resumed
        out.print(f"\nrun      {run.path}{' (already there)' if again else ''}", soft_wrap=True)
        out.print(f"picture  {run.path / 'circuit.svg'}\nreport   {run.path / 'report.html'}", soft_wrap=True)

    def _once(self, what: str, show: Callable[[], None]) -> None:
        if what not in self._printed:
            self._printed.add(what)
            show()

    def _head(self, run: FinishedRun) -> None:
        circuit, out = run.circuit, self._out
        out.print(title(circuit), style="bold")
        out.print(subtitle(circuit))
        if dropped(circuit):
            out.print(dropped(circuit))
        if screened(circuit):
            out.print(screened(circuit))
        for note in size_notes(circuit):
            out.print(note, soft_wrap=True)
        if polished(circuit):
            out.print(polished(circuit), soft_wrap=True)
        if minimised(circuit):
            out.print(minimised(circuit), soft_wrap=not out.is_terminal)
        print_stored(circuit.model.name, circuit.model.quantisation, out)
        out.print()

    def _first_table(self, run: FinishedRun) -> None:
        if run.circuit.parts and not run.report.measures:
            self._out.print(_strongest(run, self._out.width))
            self._out.print()
        if run.plan is not None:
            self._out.print(f"{planned_text(run.plan)}\n", soft_wrap=True)

    def _random(self, run: FinishedRun) -> None:
        print_random(run.report, _random_size(run), self._out)
        self._out.print()


def _record(run: FinishedRun) -> dict:
    circuit, report = run.circuit, run.report
    return {
        "run": str(run.path),
        "model": circuit.model.name,
        "task": circuit.task.name,
        "method": circuit.method.name,
        "metric": circuit.metric,
        "ablation": circuit.ablation,
        "edges_total": circuit.edges_total,
        "edges": circuit.edges_effective,
        "edges_effective": circuit.edges_effective,
        "faithfulness": report.faithfulness,
        "verification": report.model_dump(mode="json", exclude={"removals"}),
    }


def measures_table(report: Report, width: int) -> "Table":
    """Every metric that was measured on unseen rows."""
    of = "" if report.unseen in (None, report.rows) else f" of {report.unseen}"
    title = f"verification on {report.rows}{of} unseen {'row' if report.rows == 1 and not of else 'rows'}"
    head = ("metric", "full model", "circuit", "complement", "empty circuit", "faithfulness")
    rows = [
        [name, *(number(v) for v in (m.full, m.circuit, m.complement, m.empty)), percent(m.faithfulness)]
        for name, m in report.measures.items()
    ]
    return make_table(head, rows, width, title)


def _random_size(run: FinishedRun) -> str:
    """How large the random circuits are: those of edges lose what is on no path, as the circuit itself did."""
    sizes = run.report.random.edges if run.report.random else []
    if not run.circuit.units.are_edges or not sizes:
        return f"as many {run.circuit.part_name}"
    return f"{min(sizes):,} to {max(sizes):,} edges" if min(sizes) < max(sizes) else f"{sizes[0]:,} edges"


def print_random(report: Report, size: str, out: "Console") -> None:
    """How faithful random circuits are, which have such a `size`; nothing where there are none."""
    found = report.random
    known = [value for value in found.faithfulness if value is not None] if found else []
    if known and found is not None:
        fewer = f" on {count_of(found.rows or 0, 'row')}" if found.rows not in (None, report.rows) else ""
        text = f"{count_of(len(known), 'random circuit')} of {size}{fewer}: faithfulness {between(known)}"
        out.print(text, style="dim italic")


def minimised(circuit: Circuit) -> str:
    """What `acdc minimise` removed, in a sentence; nothing of other circuits."""
    found = circuit.method.selection
    if "minimised_from" not in found:
        return ""
    before, left = int(found["minimised_from"]), circuit.size_in_edges
    without = f"{circuit.metric} gets worse by more than {number(found['tolerance'])} on the discovery rows"
    return f"minimise removed {before - left:,} of {before:,} edges: without any one that is left, {without}"


def _strongest(run: FinishedRun, width: int) -> "Table":
    level = run.circuit.part_name
    edges = _strongest_parts(run)
    removals = {removal.id: removal for removal in run.report.removals}
    title = f"strongest {len(edges)} of {len(run.circuit.parts):,} {level}"
    change_without = [f"change of {run.report.metric} without it"] if removals else []
    score = "|score|" if run.circuit.method.options.get("absolute") else "score"
    head = [kind_of(run.circuit.units.parts).singular, score, *change_without]

    def change(name: str) -> list[str]:
        removal = removals.get(name)
        return [f"{removal.change:+.4g}" if removal else "-"] if removals else []

    sign = "+" if run.circuit.score_kind == "effect" else ""  # an importance has none
    return make_table(head, [[edge.id, f"{edge.score:{sign}.4g}", *change(edge.id)] for edge in edges], width, title)


def _strongest_parts(run: FinishedRun) -> list[ScoredEdge | ScoredNode]:
    return sorted(run.circuit.parts, key=lambda part: (-abs(part.score), part.id))[:STRONGEST]


def _against(run: FinishedRun) -> str:
    """How many of the strongest work against the behaviour on the unseen rows, in a sentence; nothing if none does."""
    sign, shown = (1 if run.circuit.larger_is_better else -1), {part.id for part in _strongest_parts(run)}
    better = [one for one in run.report.removals if one.id in shown and sign * one.change > run.report.tolerance]
    if not better:
        return ""
    one = len(better) == 1
    many, without = ("1 of these works", "it") if one else (f"{len(better)} of these work", "any one of them")
    return f"{many} against the behaviour here: without {without}, {run.report.metric} is better"


def print_conclusion(run: FinishedRun, complete: bool) -> None:
    """What the verification shows, in at most five lines: the verdict, the names of claims by how they stand, and the
    next command. `complete`: all tables have been printed."""
    print_standing(run.path, run.report, claims(run.circuit, run.report), complete)


def print_word(report: Report, out: "Console") -> None:
    """The verdict in one word with why, and that it rests on few rows, where it does."""
    found, few = judge(report), too_few(report)
    out.print(f"\n{found.said}: {found.why}", style="bold", soft_wrap=not out.is_terminal)
    if few:
        out.print(f"{few}.", soft_wrap=not out.is_terminal)


def print_standing(path: Path, report: Report, found_claims: Sequence[Claim], complete: bool) -> None:
    """The same of claims that are known."""
    out = console()
    print_word(report, out)
    by_standing: dict[Standing, list[str]] = {}
    for claim in found_claims:
        by_standing.setdefault(claim.standing, []).append(claim.name)
    for standing in Standing:
        if standing in by_standing:
            said = f"{standing.value}: {'; '.join(by_standing[standing])}"  # a name can hold a comma
            out.print(said, soft_wrap=not out.is_terminal)
    shown = shlex.quote(str(path))
    out.print(f"what each claim means, with its numbers: acdc open {shown}", soft_wrap=True)
    if not complete:
        out.print(f"all tables: acdc show {shown}", soft_wrap=True)
    elif report.extent is not Extent.full:
        out.print(f"open claims are tested by: acdc verify {shown}", soft_wrap=True)
    options = [f"{claim.name} ({claim.option})" for claim in found_claims if claim.option]
    if options and report.extent is Extent.full:
        out.print(f"acdc verify {shown} also tests, with options: {'; '.join(options)}", soft_wrap=not out.is_terminal)
