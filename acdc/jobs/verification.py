"""Verify a run on the workers of an executor: the same numbers, whoever measures them."""

from dataclasses import dataclass, replace
from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.behaviour.workers import FindWorkers
from acdc.errors import InputError
from acdc.jobs.executors import JobExecutor
from acdc.jobs.store import Stage
from acdc.options import Scope
from acdc.progress import Progress
from acdc.runs.discovery import Loaded
from acdc.runs.extras import Extras
from acdc.runs.finish import Finishing, reverify
from acdc.runs.run_directory import read_run
from acdc.runs.spec import DiscoveryJob
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.verification.binding import batch_size_of


@dataclass(frozen=True)
class VerificationJob:
    """See `acdc.jobs.job.Job`; `job` tells workers that share in it what to measure."""

    path: Path
    job: DiscoveryJob
    extras: Extras

    @property
    def id(self) -> str:
        return f"verify-{self.path.name}"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def command(self) -> str:
        return f"acdc verify {self.path.name}"

    def is_finished(self) -> bool:
        return False

    def do(self, progress: Progress, loaded: Loaded, find_workers: FindWorkers) -> None:
        how = Finishing(progress, self.job.scope, find_workers)
        reverify(self.path, self.job.model, self.job.task, self.job.device, how, self.extras)


class _Quiet:
    """Told of nothing that it would show."""

    def started(self, id: str) -> None:
        pass

    def at(self, id: str, stage: Stage) -> None:
        pass


def verify_on(
    executor: JobExecutor,
    path: Path,
    model: str | None,
    task: str | None,
    device: str,
    scope: Scope,
    extras: Extras,
) -> None:
    """Verify a run, its work shared by all workers. Raises InputError where that fails."""
    record, circuit = read_run(path), Circuit.load(path)
    settings = DiscoverySettings(
        METHODS["exact"],  # which measures whole circuits as well
        metric=circuit.metric,
        ablation=circuit.ablation,
        batch_size=batch_size_of(circuit),
        split_embeddings=circuit.model.split_embeddings,
        direct_edges=circuit.model.direct_edges,
        seed=circuit.seed,
        threads=circuit.batch.threads,
    )
    source = record.source
    job = DiscoveryJob(
        model or source.model,
        task or source.task,
        settings,
        source.revision,
        device,
        circuit.dtype,
        scope.extent,
        scope.rows,
    )
    found = replace(extras, against=tuple(other.resolve() for other in extras.against))
    for outcome in executor.run([VerificationJob(path.resolve(), job, found)], _Quiet()):
        if outcome.error is not None:
            raise InputError(outcome.error)
