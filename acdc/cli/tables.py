"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_table(out: "Console", title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table under a title, its first column to the left, the others to the right."""
    from rich.table import Table

    out.print(title, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    out.print(table)
