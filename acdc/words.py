"""How many of something, in words that messages share; and which name was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def count_of(count: int, thing: str, plural: str | None = None) -> str:
    """`1 edge`, `2,000 edges`; `plural` where it is not the word and an s."""
    return f"{count:,} {thing if count == 1 else plural or f'{thing}s'}"


def shortened(text: str, most: int = 40) -> str:
    """A text in quotes, cut off where it is long."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is none: those that begin like it, or else the likest; nothing where none
    is like it."""
    names = list(known)
    plain = name.strip().lower().replace("_", "-")
    alike = [one for one in names if plain and one.lower().replace("_", "-").startswith(plain)]
    alike = alike or get_close_matches(name, names, 1)
    return f"; did you mean {' or '.join(map(repr, alike[:3]))}?" if alike else ""


def were(count: int) -> str:
    """The verb that goes with so many."""
    return "was" if count == 1 else "were"


def are(count: int) -> str:
    """The verb that goes with so many."""
    return "is" if count == 1 else "are"
