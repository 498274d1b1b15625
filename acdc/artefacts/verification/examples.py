"""Rows with what the circuit's heads attend to, for the report."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.digests import read_artefact
from acdc.errors import InputError
from acdc.files import is_there

Pattern = list[list[float]]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LaterAnswer(_Record):
    """What a row calls for at a further place, as in an `Example`."""

    answer: int = Field(ge=0)
    correct: list[str]
    incorrect: list[str]


class Prediction(_Record):
    """A token, as text, and its probability."""

    token: str
    share: float


class Predictions(_Record):
    """The most likely next tokens at the answer position, the most likely first."""

    full: list[Prediction]
    circuit: list[Prediction]


class Lens(_Record):
    """What the residual stream says next when the final norm and the unembedding read it (logit lens).

    `depths`: after how many layers, ascending from 0, which are the embeddings. `top` [depths, positions]: the most
    likely token, as its place in `tokens`, and `shares` its probability; `right` [depths]: that of the correct answers
    together, at the first answer's place. Probabilities are in thousandths.
    """

    depths: list[int]
    tokens: list[str]
    top: list[list[int]]
    shares: list[list[int]]
    right: list[int]


class Example(_Record):
    """One row. `clean` and `corrupted`: its tokens as text from position `start` on, of `length` in all; `answer`: the
    place among them of the token that the answer follows, and `later` those of further answers, of all that are shown.
    `corrupted`: None where there is none. `full`, `circuit`: the metric of both on this row.

    `patterns`: of each head of `Examples.heads`, by position (over those shown) the shares of attention to the
    positions shown, without trailing zeros. `spans`: the span that each position shown is in, for circuits that have
    some. `predictions`: what full model and circuit say next; None for models without a vocabulary, and in files of
    before. `lens`: what its residual stream says after each layer, in the full model's clean run; None likewise.
    """

    row: str
    group: str | None
    start: int = Field(ge=0)
    length: int = Field(ge=1)
    clean: list[str]
    corrupted: list[str] | None
    answer: int = Field(ge=0)
    correct: list[str]
    incorrect: list[str]
    full: float
    circuit: float
    patterns: list[Pattern]
    spans: list[str] | None = Field(None, exclude_if=lambda spans: spans is None)
    later: list[LaterAnswer] = Field([], exclude_if=lambda later: not later)
    predictions: Predictions | None = Field(None, exclude_if=lambda predictions: predictions is None)
    lens: Lens | None = Field(None, exclude_if=lambda lens: lens is None)

    @property
    def answers(self) -> list[LaterAnswer]:
        """All of them, by place."""
        return [LaterAnswer(answer=self.answer, correct=self.correct, incorrect=self.incorrect), *self.later]


class Examples(_Record):
    """`of`: the side of the split that the rows are from. `no_patterns`: why there are none, if that is so."""

    format: Literal["acdc-examples"] = "acdc-examples"
    version: Literal[1] = 1
    of: Literal["discovery", "verification"]
    metric: str
    heads: list[str]
    rows: list[Example]
    no_patterns: str | None = None

    def to_json(self) -> str:
        """What `examples.json` holds, on one line: patterns are long."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, allow_nan=False) + "\n"


def load_examples(folder: Path, circuit: Circuit) -> Examples | None:
    """A run's examples; None for a run of before there were any. Raises InputError where they are damaged or of another
    circuit."""
    path = folder / FILE_NAME
    if not is_there(path):
        return None
    examples = read_artefact(Examples, path, "a file of examples of acdc")
    known = {*circuit.task.discovery, *circuit.task.verification}
    of_circuit = examples.metric == circuit.metric and all(example.row in known for example in examples.rows)
    if not of_circuit or not set(examples.heads) <= {writer.id for writer in circuit.graph.writers}:
        raise InputError(f"{path} belongs to another circuit: delete it to make new examples")
    return examples


FILE_NAME = "examples.json"
