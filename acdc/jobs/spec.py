"""A discovery job: the options of `acdc discover`, as one value that says everything that its result depends on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acdc.model.load import Model
from acdc.search.discover import DiscoverySettings
from acdc.task.rows import Task


@dataclass(frozen=True)
class DiscoveryJob:
    """What to discover where; `model` and `task` are names or paths as the user gave them."""

    model: str
    task: str
    settings: DiscoverySettings
    revision: str | None = None
    device: str = "auto"
    dtype: str = "float32"

    def inputs(self, model: Model, task: Task) -> dict[str, Any]:
        """Everything that determines the artefacts, by content instead of by name."""
        return {
            "model": model.content_hash,
            "task": task.content_hash(),
            "task_metric": task.metric,
            "dtype": self.dtype,
            **asdict(self.settings),
        }

    def command(self, verb: str = "discover") -> str:
        """The command line that makes the same artefacts, with file names instead of paths."""
        words = ["acdc", verb, "--model", Path(self.model).name, "--task", Path(self.task).name]
        if self.revision:
            words += ["--revision", self.revision]
        words += ["--dtype", self.dtype]
        for name, value in asdict(self.settings).items():
            option = "--" + name.replace("_", "-")
            if value is True:
                words.append(option)
            elif value is not None and value is not False:
                words += [option, str(value)]
        return " ".join(words)
