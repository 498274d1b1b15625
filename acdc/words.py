"""How many of something, in words that messages share."""


def count_of(count: int, thing: str, plural: str | None = None) -> str:
    """`1 edge`, `2,000 edges`; `plural` where it is not the word and an s."""
    return f"{count:,} {thing if count == 1 else plural or f'{thing}s'}"


def shortened(text: str, most: int = 40) -> str:
    """A text in quotes, cut off where it is long."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")


def were(count: int) -> str:
    """The verb that goes with so many."""
    return "was" if count == 1 else "were"


def are(count: int) -> str:
    """The verb that goes with so many."""
    return "is" if count == 1 else "are"
