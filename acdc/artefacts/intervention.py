"""What came of interventions (`intervention.json`): on the next token after a prompt, on text that is generated, on a
task's metric. Reading it needs no torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from acdc.artefacts.digests import read_artefact
from acdc.artefacts.verification.interval import Interval
from acdc.display import Tabled

FILE_NAME = "intervention.json"


@dataclass(frozen=True)
class TokenEffect:
    """Probabilities of a next token without interventions, with them, and by their direct effect alone; and by how much
    its logit changes, less the mean of all logits, with all that follows and directly. Direct ones can be None."""

    token: int
    text: str
    before: float
    after: float
    direct: float | None
    change: float
    direct_change: float | None


@dataclass(frozen=True)
class PromptEffects:
    """Tokens that are likeliest without interventions or with them; `kl` in nats. `no_direct`: why there are no direct
    effects."""

    prompt: str
    tokens: tuple[TokenEffect, ...]
    kl: float
    no_direct: str | None


@dataclass(frozen=True)
class TaskEffects:
    """Means of a metric over rows with 95 % bootstrap intervals, and of its change row by row."""

    task: str
    metric: str
    rows: int
    before: Interval
    after: Interval
    change: Interval


@dataclass(frozen=True)
class Generated:
    """Token ids after the prompt, and their text, without interventions and with them."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    before_text: str
    after_text: str


@dataclass(frozen=True, repr=False)
class Intervened(Tabled):
    """What was done and what came of it; None for what was not asked."""

    model: str
    interventions: tuple[str, ...]
    prompt: PromptEffects | None
    generated: Generated | None
    task: TaskEffects | None

    def summary(self) -> str:
        return f"{', '.join(self.interventions)} in {self.model}"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each likeliest token after the prompt (see `TokenEffect`); without a prompt, one for the metric of
        the task before, after, and its change, with 95% intervals."""
        if self.prompt is not None:
            yield from (vars(token) for token in self.prompt.tokens)
        elif self.task is not None:
            for name in ("before", "after", "change"):
                found: Interval = getattr(self.task, name)
                yield {"what": name, "metric": self.task.metric, **found.model_dump()}

    def as_record(self) -> dict[str, Any]:
        """As JSON has it."""
        return TypeAdapter(Intervened).dump_python(self, mode="json")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal["acdc-intervention"] = "acdc-intervention"
    version: Literal[1] = 1
    found: Intervened


def to_record(found: Intervened) -> dict[str, Any]:
    """What `intervention.json` holds."""
    return _Record(found=found).model_dump(mode="json")


def read_intervened(folder: Path) -> Intervened:
    """Of a run. Raises InputError for a damaged file."""
    return read_artefact(_Record, folder / FILE_NAME, "interventions of acdc").found
