"""A real language model on tasks whose circuits nobody knows: how faithful what methods find is, and what it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from acdc.benchmark.case import Case, PreparedCase, Unavailable, content
from acdc.errors import InputError
from acdc.model.load import load_model
from acdc.task.load import load_task

MODEL, TASKS = "stories260k", ("stories_pronoun_gender", "stories_plural_they")
ROWS = 16
DTYPE = "float32"


@dataclass(frozen=True)
class StoryCase:
    """A task of the first `ROWS` rows, from a folder with `models/` and `tasks/`."""

    name: str
    data: str | None
    suite: str = "stories"
    ablations: tuple[str, ...] = ("resample",)
    variant: str | None = None

    @property
    def identity(self) -> str:
        paths = (Path(self.data, "models", MODEL), Path(self.data, "tasks", f"{self.name}.jsonl")) if self.data else ()
        return f"{replace(self, data=None)!r} {content(*paths)}"

    def prepare(self, folder: Path, device: str, dtype: str | None) -> PreparedCase:
        if self.data is None:
            raise Unavailable(f"weights not available: give --data, a folder with models/{MODEL} and tasks/")
        try:
            model = load_model(str(Path(self.data, "models", MODEL)), device=device, dtype=dtype or DTYPE)
            task = load_task(Path(self.data, "tasks", f"{self.name}.jsonl"), model)
        except InputError as error:
            raise Unavailable(f"weights not available: {error}") from None
        return PreparedCase(model, replace(task, rows=task.rows[:ROWS]), dict.fromkeys(self.ablations))


def story_cases(data: Path | None) -> Sequence[Case]:
    """One case for each task."""
    return [StoryCase(name, str(data) if data else None) for name in TASKS]
