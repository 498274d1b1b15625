"""Bundled models that were trained until a program's circuit was theirs, as cases (`experiments/train_known.py`)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from acdc.benchmark.case import Case, PreparedCase, content
from acdc.benchmark.compiled import accuracy, draw_rows, find_program
from acdc.benchmark.trained import FOLDERS
from acdc.benchmark.truth import Truth
from acdc.files import make_private, read_model, write_text
from acdc.model.load import load_model
from acdc.task.load import load_task

RECORD, DTYPE = "known.json", "float64"


class Known(BaseModel):
    """What is known of a trained model: the program, and by ablation the edges of its circuit."""

    program: str
    truth: dict[str, list[str]]


@dataclass(frozen=True)
class TrainedCase:
    """A trained model by the name of its program; `seed` draws rows."""

    name: str
    suite: str = "trained"
    ablations: tuple[str, ...] = ("resample",)
    variant: str | None = None
    seed: int = 0

    @property
    def identity(self) -> str:
        return f"{self!r} {content(FOLDERS[self.name])}"

    def prepare(self, folder: Path, device: str, dtype: str | None) -> PreparedCase:
        source = FOLDERS[self.name]
        known = read_model(Known, source / RECORD, "what is known of a trained model")
        named, model = find_program(known.program), load_model(str(source), device=device, dtype=dtype or DTYPE)
        make_private(folder)
        lines: list[dict[str, Any]] = draw_rows(named, self.seed)
        write_text(folder / "task.jsonl", "".join(json.dumps(row) + "\n" for row in lines))
        task = load_task(folder / "task.jsonl", model)
        truths = {
            ablation: Truth(frozenset(edges), frozenset(), redundant=False, complete=True)
            for ablation, edges in known.truth.items()
        }
        return PreparedCase(model, task, truths, split_embeddings=True, accuracy=accuracy(model, task))


def trained_cases(data: Path | None) -> Sequence[Case]:
    return [TrainedCase(name) for name in FOLDERS]
