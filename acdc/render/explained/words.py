"""What terminal and page say of a unit, in words and rows."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from acdc.options import INTERVALS

if TYPE_CHECKING:
    from acdc.explanation.explain import Explained, ShownExample
    from acdc.explanation.patterns import PatternShares

AROUND = 9  # tokens before the marked one, and a third of it after


def heading(found: "Explained") -> str:
    of = "" if found.dictionary is None or found.kind != "feature" else f" of {found.dictionary}"
    return f"{found.kind} {found.unit}{of} in {found.model}"


def summary(found: "Explained") -> str:
    """How often it is active, and how much."""
    examples = found.examples
    where = f"{examples.tokens:,} tokens of {examples.corpus}"
    if found.kind == "head":
        return f"on {where}: writes a norm of {examples.smallest:.3g} to {examples.largest:.3g}"
    active = "active (above 0)" if found.kind == "neuron" else "active"
    return (
        f"{active} at {examples.frequency:.2%} of {where}: activations from {examples.smallest:.3g} to "
        f"{examples.largest:.3g}"
    )


def context(one: "ShownExample") -> str:
    """An example around its strongest token, which is in brackets with its activation."""
    start, stop = max(0, one.at - AROUND), one.at + AROUND // 3 + 1
    before, after = "".join(one.tokens[start : one.at]), "".join(one.tokens[one.at + 1 : stop])
    if not any(token.startswith(" ") for token in one.tokens):  # of words alone, as word-level tokenizers have them
        before, after = " ".join([*one.tokens[start : one.at], ""]), " ".join(["", *one.tokens[one.at + 1 : stop]])
    token = one.tokens[one.at]
    lead = " " * (len(token) - len(token.lstrip(" ")))
    ends = "..." if start else "", "..." if stop < len(one.tokens) else ""
    return f"{ends[0]}{before}{lead}[{token.strip(' ')}]{after}{ends[1]}".replace("\n", "\\n")


def group_title(name: str, shown: "Sequence[ShownExample]") -> str:
    """What a group of examples is, which front ends know by the number of its interval."""
    _, _, number = name.partition(" Interval ")
    if name.startswith("Bottom") and len({f"{one.activations[one.at]:.3g}" for one in shown}) == 1 < len(shown):
        return f"{name.lower()}, all alike: the least that the activation function gives"
    if not number:
        return name.lower()
    low, high = (f"{1 - (int(number) + ends) / INTERVALS:.0%}" for ends in (1, 0))
    return f"some from {low} to {high} of the largest activation"


def token_cells(pairs: "tuple[tuple[str, float], ...]", most: int) -> str:
    return " ".join(repr(token) for token, _ in pairs[:most])


def sentences(found: "Explained", most: int = 8) -> Iterator[tuple[str, str]]:
    """(what, tokens) of its weights alone."""
    if found.raises and found.lowers:
        yield "raises", token_cells(found.raises, most)
        yield "lowers", token_cells(found.lowers, most)
    if found.excited and found.silenced:
        yield "excited by", token_cells(found.excited, most)
        yield "silenced by", token_cells(found.silenced, most)


def share_rows(shares: "PatternShares") -> list[list[str]]:
    """What a head attends to: share of its attention, and what it would be if it were spread evenly."""
    rows = [
        ("the first token", shares.first, None),
        ("the token itself", shares.itself, None),
        ("the token before", shares.previous, None),
        ("earlier tokens that are the same", shares.same, shares.expected_same),
        ("tokens after such (induction)", shares.after_same, shares.expected_after_same),
    ]
    return [[name, f"{share:.1%}", "" if even is None else f"{even:.1%}"] for name, share, even in rows]


def overview(units: "Sequence[Explained]") -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of a table with a line for each unit: its strongest example, and what it would have said."""
    rows = []
    for found in units:
        examples = [one for _, some in found.shown for one in some]
        says = token_cells(found.raises or (), 3)
        if found.head is not None:
            says = ", ".join(pair for pair, _ in found.head.ov[:3])
        active = "-" if found.kind == "head" else f"{found.examples.frequency:.2%}"
        rows.append([found.unit, active, context(examples[0]) if examples else "-", says])
    return ["unit", "active", "strongest example", "says"], rows
