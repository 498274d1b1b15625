"""Tables on the terminal: they fit 80 columns, cut no heading, and have decimal points under each other."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NUMBER = re.compile(r"[+-]?[\d,]+(\.\d+)?(e[+-]?\d+)?%?")
DECIMALS = re.compile(r"(\.\d+)?(e[+-]?\d+)?%?$")
WORDS = re.compile(r"[a-z] +[a-z]")  # of a cell that can go on in another line
NONE = ("", "-")  # cells that say that there is no number
APART = 2  # columns of the terminal between those of a table


def print_table(
    out: "Console", title: str, head: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)
) -> None:
    """Print a table under a title, columns of `words` to the left, the others to the right."""
    out.print(title, soft_wrap=not out.is_terminal)
    out.print(make_table(head, list(rows), out.width, words=words))


def make_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    title: str = "",
    words: Collection[int] = (0,),
    headed: bool = True,
) -> "Table":
    """A table for a terminal so wide; columns of `words` are to the left. Where it is too narrow for whole headings,
    these wrap, and words do, but no number. `headed`: whether the names of its columns are printed."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None, title_justify="left", min_width=len(title), box=None, pad_edge=False, show_header=headed
    )
    columns = [align([row[place] for row in rows]) for place in range(len(head))]
    widest = [max((len(cell) for cell in column), default=0) for column in columns]
    whole = [max(own, len(name)) for own, name in zip(widest, head, strict=True)]
    if sum(whole) + APART * (len(head) - 1) > width:
        whole = [max(own, *map(len, name.split()), 0) for own, name in zip(widest, head, strict=True)]
    for place, name in enumerate(head):
        if place in words:
            table.add_column(name, overflow="fold", min_width=min(whole[place], 16))
        elif any(WORDS.search(cell) for cell in columns[place]):
            longest = max(len(word) for cell in (name, *columns[place]) for word in cell.split() or [""])
            table.add_column(name, justify="right", min_width=longest)
        else:
            table.add_column(Text(name, justify="right"), width=whole[place])
    numbers = [column.width is not None for column in table.columns]
    for row in zip(*columns, strict=True):
        cells = zip(row, whole, numbers, strict=True)
        table.add_row(*(Text(cell.rjust(wide), justify="left") if one else cell for cell, wide, one in cells))
    return table


def width_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How wide a table is whose headings do not wrap."""
    return sum(max(map(len, column)) for column in zip(head, *rows, strict=True)) + APART * (len(head) - 1)


def align(cells: Sequence[str]) -> list[str]:
    """Numbers of a column with their decimal points at one place; a column that has anything else stays as it is."""
    if not all(cell in NONE or NUMBER.fullmatch(cell) for cell in cells):
        return list(cells)
    most = max((len(_decimals(cell)) for cell in cells if cell not in NONE), default=0)
    return [cell if cell in NONE else cell + " " * (most - len(_decimals(cell))) for cell in cells]


def _decimals(cell: str) -> str:
    """What follows the place of the point: decimals, exponent and sign of per cent."""
    found = DECIMALS.search(cell)
    return found[0] if found else ""
