"""What attention heads of a circuit look at, and how they compose."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from acdc.artefacts.verification.interval import Interval

PREVIOUS, NEXT, DUPLICATE, INDUCTION = "previous token", "next token", "duplicate token", "induction"
CORRUPTED, ANSWER, FIRST, ITSELF = "corrupted token", "answer token", "first token", "itself"
EVENLY = "all tokens evenly"
At = Literal["everywhere", "answer"]  # of shares: over all positions, from the answer position
ATTENDS = "attends to: "  # before a target, in a label


class Attention(BaseModel):
    """Shares of a head's attention by target, means over rows: `everywhere` over the positions that have the target,
    `answer` from the answer position; None where there is no such position."""

    model_config = ConfigDict(frozen=True)

    everywhere: dict[str, float | None]
    answer: dict[str, float | None]


class Evidence(BaseModel):
    """What a label rests on: shares of attention to a target, `everywhere` or from the `answer` position.

    `share`: of all attention. `active`: of what does not rest on the first token or on the present one, unless these
    are the target. `others`: the median of that over the model's other heads, None where there are none. `even`: the
    same of attention that is spread evenly.
    """

    model_config = ConfigDict(frozen=True)

    target: str
    at: At
    share: float
    active: float
    others: float | None
    even: float

    @property
    def label(self) -> str:
        return f"{ATTENDS}{self.target}"


class HeadHint(BaseModel):
    """`adds`: what the head adds to the metric directly, in the metric's own sign: the full model's metric minus that
    with the head's edge into the logits ablated. `label`: what stands out in its attention, by the `evidence`."""

    model_config = ConfigDict(frozen=True)

    id: str
    adds: Interval
    attention: Attention
    label: str | None
    evidence: Evidence | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, data: object) -> object:
        """Files of before have the sign of the head's removal, in `direct`, and other names of targets in labels."""
        if not isinstance(data, dict) or "direct" not in data or "adds" in data:
            return data
        data = dict(data)
        data["adds"] = Interval.model_validate(data.pop("direct")).negated
        if label := data.get("label"):
            target = str(label).removeprefix(_ATTENDED)
            data["label"] = f"{ATTENDS}{_RENAMED.get(target, target)}"
        return data


_ATTENDED = "attends mostly: "
_RENAMED = {"previous": PREVIOUS, "same token": DUPLICATE, "first": FIRST}


class Composition(BaseModel):
    """How much of what a head writes a slot of a later head reads, by their weights alone: |W_out W_slot| / (|W_out|
    |W_slot|) in Frobenius norms, norms of the residual stream aside (Elhage et al. 2021). `usual`: the mean over all
    heads and later slots of that kind in the model."""

    model_config = ConfigDict(frozen=True)

    edge: str
    score: float
    usual: float
