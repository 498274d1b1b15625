"""What attention heads of a circuit look at, and how they compose."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval

ANSWER = "answer token"


class Attention(BaseModel):
    """Shares of a head's attention by target, means over rows: `everywhere` over positions, `answer` from the last."""

    model_config = ConfigDict(frozen=True)

    everywhere: dict[str, float]
    answer: dict[str, float]


def columns(attention: Attention) -> dict[str, float]:
    """Shares to show, by what they are of: of all positions, but to the answer from the last one."""
    answers = {"answer*": attention.answer[ANSWER]} if ANSWER in attention.answer else {}
    return {name: share for name, share in attention.everywhere.items() if name != ANSWER} | answers


class HeadHint(BaseModel):
    """`direct`: change of the metric where the head's edge into the logits alone is ablated, in its own sign. `label`:
    where most of its attention goes, if it is mostly one place; or from the answer position, to the answer."""

    model_config = ConfigDict(frozen=True)

    id: str
    direct: Interval
    attention: Attention
    label: str | None


class Composition(BaseModel):
    """How much of what a head writes a slot of a later head reads, by their weights alone: |W_out W_slot| / (|W_out|
    |W_slot|) in Frobenius norms, norms of the residual stream aside (Elhage et al. 2021). `usual`: the mean over all
    heads and later slots of that kind in the model."""

    model_config = ConfigDict(frozen=True)

    edge: str
    score: float
    usual: float
