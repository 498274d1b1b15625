"""How what a verification measures only if asked for is printed."""

from typing import TYPE_CHECKING

from acdc.artefacts.verification.report import Report
from acdc.cli.tables import print_table
from acdc.render.extras import HARMS, RIVALS, harms_table, rivals_table
from acdc.render.verdict import bootstraps_text, rivals_text, specificity_text

if TYPE_CHECKING:
    from rich.console import Console


def print_extras(report: Report, out: "Console") -> None:
    """Each in a sentence, and a table where there is one."""
    if report.bootstraps is not None:
        out.print(f"\nbootstraps: {bootstraps_text(report.bootstraps)}", soft_wrap=not out.is_terminal)
    if report.specificity is not None:
        print_table(out, f"\nspecificity: {HARMS}", *harms_table(report.specificity))
        out.print(specificity_text(report.specificity), soft_wrap=not out.is_terminal)
    if report.rivals is not None:
        print_table(out, f"\nrivals: {RIVALS}", *rivals_table(report.rivals))
        out.print(rivals_text(report.rivals), soft_wrap=not out.is_terminal)
