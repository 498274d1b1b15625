"""Check a task against a model before any discovery."""

from dataclasses import asdict, dataclass
from typing import Any

from acdc.jobs.run import Loaded
from acdc.jobs.spec import DiscoveryJob
from acdc.model.gguf_file import Quantisation
from acdc.model.threads import fixed_threads
from acdc.search.discover import bind
from acdc.task.behaviour import usable_metrics
from acdc.task.split import split_rows


@dataclass(frozen=True)
class TaskCheck:
    """Rows, lengths in tokens, the default split, and each metric's mean on clean and corrupted prompts."""

    task: str
    model: str
    rows: int
    shortest: int
    longest: int
    discovery: int
    verification: int
    metric: str
    measures: list[tuple[str, float, float]]
    warnings: list[str]
    quantisation: Quantisation | None

    def as_record(self) -> dict[str, Any]:
        measures = {name: {"clean": clean, "corrupted": corrupted} for name, clean, corrupted in self.measures}
        return asdict(self) | {"measures": measures}


def check(job: DiscoveryJob) -> TaskCheck:
    """Load model and task, and measure the plain model on both prompts of every row."""
    job.settings.check()
    model, task = Loaded().of(job)
    split = split_rows(task.rows, job.settings.seed)
    with fixed_threads(job.settings.threads):
        behaviour = bind(model, task, job.settings, range(len(task.rows)))
        metrics = usable_metrics(behaviour.rows)
        clean = behaviour.plain(metrics).mean(axis=1)
        corrupted = behaviour.plain(metrics, corrupted=True).mean(axis=1)
    lengths = [len(row.clean) for row in task.rows]
    measures = list(zip([m.name for m in metrics], clean.tolist(), corrupted.tolist(), strict=True))
    return TaskCheck(
        task=task.name,
        model=model.name,
        rows=len(task.rows),
        shortest=min(lengths),
        longest=max(lengths),
        discovery=len(split.discovery),
        verification=len(split.verification),
        metric=behaviour.metric.name,
        measures=measures,
        warnings=_warnings(measures, len(split.verification)),
        quantisation=model.quantisation,
    )


def _warnings(measures: list[tuple[str, float, float]], verification: int) -> list[str]:
    values = {name: (clean, corrupted) for name, clean, corrupted in measures}
    found = []
    if values.get("accuracy", (1.0, 0.0))[0] < 0.5:
        found.append("the model gets fewer than half of the rows right: its circuit may carry no behaviour")
    if values["kl"][1] < 1e-6:
        found.append("clean and corrupted prompts give the same output: ablating to the corrupted run shows nothing")
    if not verification:
        found.append("all rows duplicate or mirror each other: none would be left to verify on")
    return found
