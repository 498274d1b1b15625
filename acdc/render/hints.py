"""What heads do, as the terminal and the report show it: what they add, where they attend, what each label rests on."""

from collections.abc import Sequence

from acdc.artefacts.verification.mechanism import ATTENDS, At, Attention, HeadHint
from acdc.render.verdict import percent

ADDS = (
    "direct effect: what a head adds to {metric} along its edge to the logits alone (the full model's {metric} minus "
    "that with this edge ablated; positive where the head makes {metric} larger)"
)
LABELS = (
    "attends to: what stands out in its attention, as a share of what does not rest on the first or the present token, "
    "beside the median of the model's other heads and an even spread; hints, not proof"
)
SHARES: dict[At, str] = {
    "everywhere": "shares of all attention, mean over the positions that have such a token",
    "answer": "shares of all attention from the answer position",
}
EVIDENCE = ("attends to", "from", "share", "other heads", "even spread", "of all attention")
_FROM: dict[At, str] = {"everywhere": "all positions", "answer": "the answer"}


def evidence_cells(hint: HeadHint) -> list[str]:
    """A head's label and what it rests on, under the headings `EVIDENCE`."""
    found = hint.evidence
    if found is None:
        return [(hint.label or "-").removeprefix(ATTENDS), *["-"] * (len(EVIDENCE) - 1)]
    return [found.target, _FROM[found.at], *map(percent, (found.active, found.others, found.even, found.share))]


def shares_table(hints: Sequence[HeadHint], at: At) -> tuple[list[str], list[list[str]]]:
    """(targets that there are, their shares by head)."""
    shares = [_shares(hint.attention, at) for hint in hints]
    names = [name for name in shares[0] if any(of_head.get(name) is not None for of_head in shares)]
    return [_short(name) for name in names], [[percent(of_head.get(name)) for name in names] for of_head in shares]


def _shares(attention: Attention, at: At) -> dict[str, float | None]:
    return attention.answer if at == "answer" else attention.everywhere


def _short(target: str) -> str:
    return target.removeprefix("all tokens ").removesuffix(" token")
