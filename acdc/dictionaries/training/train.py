"""Train a dictionary: stream activations, step every layer, keep a checkpoint, write, and measure what came out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from acdc.dictionaries.corpus import Corpus
from acdc.dictionaries.dictionary import Dictionary
from acdc.dictionaries.formats import circuit_tracer, sae_lens
from acdc.dictionaries.open import open_for
from acdc.dictionaries.quality import Quality, measure_quality
from acdc.dictionaries.replacement import TaskKept, measure_task
from acdc.dictionaries.training.coder import Coder
from acdc.dictionaries.training.settings import TrainedKind, TrainSettings
from acdc.dictionaries.training.stream import Stream, held_out
from acdc.errors import InputError, first_line
from acdc.files import is_there, read_json, write_bytes, write_json
from acdc.model.load import Model
from acdc.progress import Progress, silent
from acdc.task.rows import Task

CHECKPOINT, RECORD = "checkpoint.safetensors", "training.json"
SAVE_EVERY = 500  # steps
MEASURED_TOKENS = 16_384


@dataclass(frozen=True)
class Trained:
    """A dictionary in its folder with its figures on prompts that it was not trained on. `resumed`: it was there."""

    folder: Path
    dictionary: Dictionary
    quality: Sequence[Quality]
    kept: Sequence[TaskKept]
    resumed: bool


def train_dictionary(
    model: Model,
    corpus: Corpus,
    settings: TrainSettings,
    folder: Path,
    tasks: Sequence[Task] = (),
    progress: Progress = silent,
) -> Trained:
    """Train, or go on where a run of the same settings stopped, and write the dictionary into a folder: transcoders of
    all layers as circuit-tracer does, others as SAELens. `tasks`: of which the accuracy is measured with the dictionary
    in the place of what it reconstructs. Raises InputError where the folder holds something else."""
    settings.check()
    hooks = settings.hooks(model)
    inputs = {"model": model.content_hash, "dtype": model.dtype_name, "corpus": corpus.digest, **settings.record()}
    done = _state_of(folder, inputs)
    if not done:
        coders = _trained(model, corpus, settings, hooks, folder, inputs, progress)
        name = folder.resolve().name
        made = Dictionary(name, "acdc", tuple(coder.features() for coder in coders), "", model.name, name)
        everywhere = [hook.layer for hook, _ in hooks] == list(range(model.anatomy.n_layers))
        as_tracer = settings.kind is TrainedKind.transcoder and everywhere
        (circuit_tracer if as_tracer else sae_lens).write(made, folder)
    dictionary = open_for(folder, model)
    quality = measure_quality(dictionary, model, held_out(corpus, MEASURED_TOKENS), progress)
    kept = [measure_task(dictionary, model, task) for task in tasks]
    write_json(folder / RECORD, {"status": "done", "inputs": inputs, "figures": _figures(quality, kept)})
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return Trained(folder, dictionary, quality, kept, done)


def _figures(quality: Sequence[Quality], kept: Sequence[TaskKept]) -> dict[str, object]:
    layers = {
        str(one.writes): {"unexplained": one.unexplained, "l0": one.l0, "dead": one.dead, "features": one.features}
        for one in quality
    }
    return {"layers": layers, "tasks": {one.task: {"model": one.full, "replaced": one.replaced} for one in kept}}


def _state_of(folder: Path, inputs: dict) -> bool:
    """Whether a folder holds the finished run of these inputs. Raises InputError where it holds anything else."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"--out {folder} is not a folder")
    if not is_there(folder / RECORD):
        if any(folder.iterdir()):
            raise InputError(f"--out {folder} is not empty and holds no run of train-dictionary: give another folder")
        return False
    record = read_json(folder / RECORD)
    found = record.get("inputs") if isinstance(record, dict) else None
    if not isinstance(found, dict) or found.keys() != inputs.keys():
        raise InputError(f"{folder / RECORD} is no record of train-dictionary")
    if changed := [key for key in inputs if json.loads(json.dumps(inputs[key])) != found[key]]:
        raise InputError(f"--out {folder} holds a run of other inputs ({', '.join(changed)}): give another folder")
    return bool(record.get("status") == "done")


def _trained(
    model: Model,
    corpus: Corpus,
    settings: TrainSettings,
    hooks: Sequence[tuple],
    folder: Path,
    inputs: dict,
    progress: Progress,
) -> list[Coder]:
    stream = Stream(model, corpus, [hook for pair in hooks for hook in pair], settings.seed)
    chunk = next(stream.chunks())
    coders = [Coder(settings, pair, chunk.values[pair[0]], chunk.values[pair[1]]) for pair in hooks]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, {"status": "training", "inputs": inputs})
    step, number = _restore(folder / CHECKPOINT, coders)
    with progress("training", settings.steps, "steps") as advance:
        advance(step)
        for chunk in stream.chunks(number):
            for start in range(0, max(1, chunk.count - settings.batch + 1), settings.batch):
                if step >= settings.steps:
                    return coders
                rows = slice(start, start + settings.batch)
                shares = [
                    one.step(step, chunk.values[one.reads][rows], chunk.values[one.writes][rows]) for one in coders
                ]
                step += 1
                advance(1, f"{sum(shares) / len(shares):.1%} unexplained")
            number += 1
            if step // SAVE_EVERY > (step - _steps_in(chunk.count, settings.batch)) // SAVE_EVERY:
                write_bytes(folder / CHECKPOINT, _checkpoint(coders, step, number))
    raise AssertionError("a stream has no end")


def _steps_in(count: int, batch: int) -> int:
    return len(range(0, max(1, count - batch + 1), batch))


def _checkpoint(coders: Sequence[Coder], step: int, chunk: int) -> bytes:
    tensors = {
        f"{number}/{name}": value.contiguous().cpu()
        for number, coder in enumerate(coders)
        for name, value in sorted(coder.state().items())
    }
    return save(tensors | {"step": torch.tensor(step), "chunk": torch.tensor(chunk)})


def _restore(path: Path, coders: Sequence[Coder]) -> tuple[int, int]:
    """(steps done, chunks used). Raises InputError for a checkpoint that is damaged."""
    if not is_there(path):
        return 0, 0
    try:
        tensors = load_file(path)
        for number, coder in enumerate(coders):
            prefix = f"{number}/"
            device = coder.scale.device
            coder.restore(
                {key.removeprefix(prefix): v.to(device) for key, v in tensors.items() if key.startswith(prefix)}
            )
        return int(tensors["step"]), int(tensors["chunk"])
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {first_line(error)}; delete it to begin anew") from None
