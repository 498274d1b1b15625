"""Trace a prompt into a run directory: the graph, what was measured of it, its pictures and its page."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.store import NODES, WEIGHTS, load_graph, to_files
from acdc.artefacts.attribution.verification import FILE_NAME as VERIFICATION
from acdc.attribution.dictionary import Dictionary
from acdc.attribution.hints import with_hints
from acdc.attribution.prompts import logit_token, prompt_tokens
from acdc.attribution.trace import Traced, TraceSettings, retrace, trace_prompt
from acdc.attribution.verification import verify_graph
from acdc.dictionaries.units import open_traced
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.files import existing_path, json_text
from acdc.model.load import Model, load_model
from acdc.model.sources import NAMES
from acdc.options import DEFAULT_THREADS, MOST_THREADS, check_count
from acdc.progress import Progress
from acdc.render.attribution.page import to_html
from acdc.render.attribution.picture import to_dot, to_svg
from acdc.runs.discovery import discarding_refused
from acdc.runs.run_directory import RunDirectory, SourceRecord
from acdc.runs.traced import PAGE, FinishedTrace, read_verification
from acdc.runs.unit_pages import pages_of

PICTURES: dict[str, Callable[[AttributionGraph, Pruning], str]] = {"attribution.dot": to_dot, "attribution.svg": to_svg}


@dataclass(frozen=True)
class TraceJob:
    """The options of `acdc trace`: model, prompt and logits as the user gave them."""

    model: str
    prompt: str
    logits: tuple[str, ...] = ()
    less: str | None = None
    dictionary: Path | None = None
    memory: int | None = None
    prepend_bos: bool = False
    corrupted: str | None = None
    settings: TraceSettings = field(default_factory=TraceSettings)
    verify: bool = True
    revision: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    seed: int = 0
    threads: int = DEFAULT_THREADS

    def check(self) -> None:
        """Raises InputError for values that no trace can use, before any work is done."""
        self.settings.check()
        check_count("--threads", self.threads, MOST_THREADS)
        if not self.prompt.strip():
            raise InputError("--prompt is empty: give the text whose next token is to be explained")
        if self.corrupted is not None and not self.verify:
            raise InputError("--corrupted is for the verification, which --no-verify leaves out: give one of them")
        if self.less is not None and len(self.logits) != 1:
            raise InputError("--less takes one token off one --logit: give exactly one of each")

    def bound(self, model: Model) -> "BoundJob":
        """The job with token ids and the dictionary of a model. Raises InputError for what is none of these."""
        tokens = prompt_tokens(model, self.prompt, self.prepend_bos)
        wanted = (*self.logits, *([] if self.less is None else [self.less]))
        chosen = tuple(logit_token(model, self.prompt, token) for token in wanted) or None
        logits = replace(self.settings.logits, tokens=chosen, difference=self.less is not None)
        dictionary = None
        if self.dictionary is not None:
            dictionary = open_traced(self.dictionary, model, memory=self.memory, check=[tokens])
        corrupted = None if self.corrupted is None else prompt_tokens(model, self.corrupted, self.prepend_bos)
        return BoundJob(self, model, tokens, replace(self.settings, logits=logits), dictionary, corrupted)

    def command(self) -> str:
        """The command line that makes the same graph."""
        usual, settings = TraceSettings(), self.settings
        words = ["acdc", "trace", "--model", self.model, "--prompt", self.prompt]
        given: dict[str, Any] = {
            "--revision": self.revision,
            "--less": self.less,
            "--corrupted": self.corrupted,
            "--dictionary": self.dictionary,
            "--dtype": None if self.dtype == "float32" else self.dtype,
            "--max-nodes": 0 if settings.most_nodes is None else settings.most_nodes,
            "--logits": settings.logits.most,
            "--probability": settings.logits.share,
            "--node-share": settings.node_share,
            "--edge-share": settings.edge_share,
            "--seed": self.seed or None,
            "--threads": None if self.threads == DEFAULT_THREADS else self.threads,
        }
        defaults = {
            "--max-nodes": usual.most_nodes,
            "--logits": usual.logits.most,
            "--probability": usual.logits.share,
            "--node-share": usual.node_share,
            "--edge-share": usual.edge_share,
        }
        for token in self.logits:
            words += ["--logit", token]
        for option, value in given.items():
            if value is not None and value != defaults.get(option):
                words += [option, str(value)]
        flags = {"--prepend-bos": self.prepend_bos, "--first-token": not settings.constant_first}
        return shlex.join(words + [flag for flag, is_set in flags.items() if is_set])


@dataclass(frozen=True)
class BoundJob:
    """A job with what it means for its model."""

    job: TraceJob
    model: Model
    tokens: tuple[int, ...]
    settings: TraceSettings
    dictionary: Dictionary | None
    corrupted: tuple[int, ...] | None = None

    def inputs(self) -> dict[str, Any]:
        """Everything that determines the artefacts, by content instead of by name."""
        logits, settings = self.settings.logits, self.settings
        return {
            "model": self.model.content_hash,
            "tokens": list(self.tokens),
            "logits": None if logits.tokens is None else list(logits.tokens),
            "difference": logits.difference,
            "probability": logits.share,
            "most_logits": logits.most,
            "dictionary": None if self.dictionary is None else self.dictionary.describe(),
            "most_nodes": settings.most_nodes,
            "constant_first": settings.constant_first,
            "node_share": settings.node_share,
            "edge_share": settings.edge_share,
            "dtype": self.job.dtype,
            "seed": self.job.seed,
            "threads": self.job.threads,
            "corrupted": None if self.corrupted is None else list(self.corrupted),
        }

    def trace(self, progress: Progress) -> Traced:
        """Trace, with hints of the kept units."""
        return with_hints(trace_prompt(self.model, self.tokens, self.settings, self.dictionary, progress))


def run_trace(job: TraceJob, out: Path | None, progress: Progress) -> FinishedTrace:
    """Trace, verify and draw. A run of the same inputs in `out` is resumed, of other inputs refused."""
    job.check()
    model = load_model(job.model, revision=job.revision, device=job.device, dtype=job.dtype)
    bound = job.bound(model)
    found = existing_path(job.model) if job.model not in NAMES else None
    source = SourceRecord(model=str(found.resolve()) if found else job.model, revision=job.revision)
    run = RunDirectory.open(out, f"trace-{model.name}", "trace", bound.inputs(), job.command(), source, model.where)
    with fixed_threads(job.threads):
        traced, resumed = _traced(run, bound, progress)
        graph, pruning = traced.graph, traced.graph.prune()
        verification = read_verification(run.path)
        if verification is None and job.verify:
            verification = verify_graph(traced, pruning, job.seed, progress, bound.corrupted)
            run.write(VERIFICATION, json_text(verification.model_dump(mode="json")))
    for name, draw in PICTURES.items():
        run.write(name, draw(graph, pruning))
    run.write(PAGE, to_html(graph, pruning, verification, run.record.command, pages_of(run.path)))
    run.settle()
    run.note(complete=True)
    return FinishedTrace(run.path, graph, pruning, verification, resumed)


def _traced(run: RunDirectory, bound: BoundJob, progress: Progress) -> tuple[Traced, bool]:
    """(the graph, whether it was there)."""
    if run.has(NODES) and run.has(WEIGHTS):
        return retrace(bound.model, load_graph(run.path), bound.dictionary), True
    traced = discarding_refused(run, lambda: bound.trace(progress))
    for name, content in to_files(traced.graph).items():
        run.write(name, content)
    return traced, False
