"""Interventions in a run directory: what was asked, and what came of it."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc.artefacts.digests import digest
from acdc.artefacts.feature_circuit import AblatedFeatures
from acdc.artefacts.intervention import FILE_NAME, Intervened, read_intervened, to_record
from acdc.attribution.dictionary import Dictionary
from acdc.attribution.prompts import prompt_tokens
from acdc.dictionaries.units import open_traced
from acdc.feature_circuits.record import check_of
from acdc.files import json_text, read_bytes
from acdc.interventions.intervene import Wanted, intervene
from acdc.interventions.intervention import FileDirection, Intervention
from acdc.model.load import Model, load_model
from acdc.runs.discovery import discarding_refused
from acdc.runs.run_directory import RunDirectory
from acdc.runs.spec import source_of
from acdc.task.load import load_task


@dataclass(frozen=True)
class InterveneJob:
    """The options of `acdc intervene`: model and task as the user named them; `wanted` is without the task. `ablated`:
    features of which some of the interventions are, to be of this model and dictionary."""

    model: str
    interventions: tuple[Intervention, ...]
    wanted: Wanted
    task: str | None = None
    dictionary: Path | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    ablated: AblatedFeatures | None = None

    def check(self) -> None:
        """Raises InputError for values that no run can use, before any work is done."""
        self.wanted.check(with_task=self.task is not None)

    def load(self) -> tuple[Model, Wanted]:
        """(the model, what is asked of the task as well)."""
        model = load_model(self.model, revision=self.revision, device=self.device, dtype=self.dtype)
        return model, self.wanted.about(None if self.task is None else load_task(self.task, model))

    def inputs(self, model: Model, wanted: Wanted, dictionary: Dictionary | None) -> dict[str, Any]:
        """Everything that determines the result, by content instead of by name."""
        task, prompt, sampling = wanted.task, wanted.prompt, wanted.generate
        directions = (given for one in self.interventions for given in (one.amount, one.along))
        files = sorted({given.path for given in directions if isinstance(given, FileDirection)})
        return {
            "model": model.content_hash,
            "interventions": list(map(str, self.interventions)),
            "vectors": {path: digest(read_bytes(Path(path))) for path in files},
            "tokens": None if prompt is None else list(prompt_tokens(model, prompt, wanted.prepend_bos, told=True)),
            "dictionary": None if dictionary is None else dictionary.describe(),
            "task": None if task is None else task.content_hash(),
            "spans": None if task is None or not task.span_names else task.spans_hash(),
            "metric": None if task is None else str(wanted.metric or task.metric),
            "limit": wanted.limit,
            "generate": None if sampling is None else sampling.tokens,
            "temperature": None if sampling is None else sampling.temperature,
            "freeze_attention": wanted.freeze_attention,
            "top": wanted.top,
            "batch_size": wanted.batch_size,
            "dtype": self.dtype,
            "seed": wanted.seed,
            "threads": wanted.threads,
        }

    def command(self) -> str:
        """The command line that does the same."""
        words, usual, wanted = ["acdc", "intervene", "--model", self.model], Wanted(), self.wanted
        for one in self.interventions:
            action, _, what = str(one).partition(" ")
            words += [f"--{action}", what]
        sampling = wanted.generate
        given = {
            "--prompt": (wanted.prompt, None),
            "--task": (self.task, None),
            "--dictionary": (self.dictionary, None),
            "--metric": (wanted.metric, None),
            "--limit": (wanted.limit, None),
            "--generate": (sampling and sampling.tokens, None),
            "--temperature": (sampling.temperature if sampling else 0.0, 0.0),
            "--top": (wanted.top, usual.top),
            "--batch-size": (wanted.batch_size, usual.batch_size),
            "--revision": (self.revision, None),
            "--dtype": (self.dtype, "float32"),
            "--seed": (wanted.seed, usual.seed),
            "--threads": (wanted.threads, usual.threads),
        }
        for option, (value, default) in given.items():
            words += [] if value == default else [option, str(value)]
        flags = {"--prepend-bos": wanted.prepend_bos, "--freeze-attention": wanted.freeze_attention}
        return shlex.join(words + [flag for flag, is_set in flags.items() if is_set])


@dataclass(frozen=True)
class FinishedIntervention:
    """A run's folder, None where nothing was written, and what came of its interventions."""

    path: Path | None
    found: Intervened
    resumed: bool = False


def run_interventions(job: InterveneJob, out: Path | None) -> FinishedIntervention:
    """Intervene; with `out`, into a run directory, where a run of the same inputs is read and of others refused."""
    job.check()
    model, wanted = job.load()
    dictionary = None if job.dictionary is None else open_traced(job.dictionary, model)
    if job.ablated is not None:
        assert dictionary is not None  # the file names one
        check_of(job.ablated, model, dictionary.dictionary)
    if out is None:
        return FinishedIntervention(None, intervene(model, job.interventions, wanted, dictionary=dictionary))
    source = source_of(job.model, job.revision, job.task)
    inputs = job.inputs(model, wanted, dictionary)
    run = RunDirectory.open(out, "", "intervene", inputs, job.command(), source, model.where)
    if run.record.status == "complete" and run.has(FILE_NAME):
        return FinishedIntervention(run.path, read_intervened(run.path), resumed=True)
    found = discarding_refused(run, lambda: intervene(model, job.interventions, wanted, dictionary=dictionary))
    run.write(FILE_NAME, json_text(to_record(found)))
    run.settle()
    run.note(complete=True)
    return FinishedIntervention(run.path, found)
