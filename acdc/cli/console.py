"""Where tables and text are printed."""

from rich.console import Console


def console() -> Console:
    """A readable width in pipes and on wide terminals; names of files and models are never read as markup."""
    plain = Console()
    return Console(highlight=False, markup=False, width=min(plain.width, 110) if plain.is_terminal else 110)
