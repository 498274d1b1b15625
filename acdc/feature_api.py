"""The Python interface to dictionaries, circuits of their features, what single units mean, and steering."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from acdc.arguments import checked
from acdc.artefacts.feature_circuit import AblatedFeatures
from acdc.artefacts.feature_circuit import FeatureCircuitRecord as FeatureCircuit
from acdc.artefacts.verification.report import Report
from acdc.dictionaries.corpus import Corpus, TaskCorpus, open_corpus
from acdc.dictionaries.dictionary import Dictionary as FeatureDictionary
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.open import open_for
from acdc.dictionaries.own_text import OwnText
from acdc.dictionaries.quality import check_reconstructs, usual_prompts
from acdc.dictionaries.training.settings import TrainedActivation, TrainedKind, TrainSettings
from acdc.dictionaries.training.train import Trained
from acdc.dictionaries.training.train import train_dictionary as run_training
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.explanation.explain import TOKENS, Explained, explain_unit
from acdc.feature_circuits.circuits import Errors
from acdc.feature_circuits.discover import FeatureSettings
from acdc.feature_circuits.discover import discover_features as run_discovery
from acdc.feature_circuits.effects import STEPS, EffectMethod
from acdc.feature_circuits.record import AblationEffect, ablation_effects, bound_features, dictionary_record, to_record
from acdc.feature_circuits.runs import FeatureAblation
from acdc.feature_circuits.verification import verify_features as run_verification
from acdc.interventions.generate import Sampling
from acdc.interventions.intervention import Place, Unit
from acdc.model.load import Model
from acdc.options import DEFAULT_THREADS, Extent, Scope, choice
from acdc.progress import Progress, automatic
from acdc.render.features.picture import draw as draw_circuit
from acdc.render.shapes import Picture
from acdc.steering.directions import Source
from acdc.steering.steer import GENERATED, Beside, Steered, SteerSettings
from acdc.steering.steer import steer as run_steering
from acdc.task.rows import Task


@checked
def load_dictionary(
    path: str | Path, model: Model, *, memory: int | None = None, hooks: Sequence[str] = ()
) -> FeatureDictionary:
    """Read a dictionary, in any format that acdc knows, from a folder, or a bundled one by its name.

    `memory`: bytes that its tensors may take; what needs more is read by rows. `hooks`: where the features read, such
    as "resid_post3", or read and write, for files that do not say it. Raises InputError for what does not fit the
    model.
    """
    return open_for(Path(path), model, memory=memory, hooks=[Hook.parse(hook) for hook in hooks])


@checked
def train_dictionary(
    model: Model,
    out: str | Path,
    *,
    tasks: Sequence[Task] = (),
    text: str | Path | None = None,
    own_text: int | None = None,
    kind: str = "transcoder",
    activation: str = "topk",
    site: str = "resid_post",
    layers: Sequence[int] | None = None,
    features: int = 512,
    active: int = 16,
    skip: bool = False,
    steps: int = 5000,
    batch: int = 512,
    rate: float = 1e-3,
    seed: int = 0,
    threads: int = DEFAULT_THREADS,
    progress: Progress = automatic,
) -> Trained:
    """Train transcoders ("transcoder") or SAEs ("sae", at `site`) of a model's layers, into the folder `out`, where an
    earlier training of the same settings goes on.

    On a `text` file, on so many texts that the model writes itself (`own_text`), or on the prompts of `tasks`, of which
    the accuracy with the dictionary in place is measured. `features` of each layer, of which about `active` are active
    at a token; `steps` of `batch` tokens at the learning `rate`. Gives the dictionary with its figures on prompts that
    it was not trained on. Raises InputError for settings that do not fit the model.
    """
    settings = TrainSettings(
        choice(TrainedKind, "kind", kind),
        choice(TrainedActivation, "activation", activation),
        None if layers is None else tuple(layers),
        features,
        active,
        choice(Site, "site", site),
        skip,
        steps,
        batch,
        rate,
        seed,
    )
    if text is not None and own_text is not None:
        raise InputError("give text or own_text, not both")
    corpus = OwnText(model, own_text, seed=seed) if own_text is not None else _corpus(model, text, tasks)
    with fixed_threads(threads):
        return run_training(model, corpus, settings, Path(out), tasks, progress)


def _corpus(model: Model, text: str | Path | None, tasks: Sequence[Task]) -> Corpus:
    if text is not None:
        return open_corpus(model, Path(text), ())
    if not tasks:
        raise InputError("give text or tasks: prompts are needed")
    return TaskCorpus(tuple(tasks))


@checked
def discover_features(
    model: Model,
    dictionary: FeatureDictionary,
    task: Task,
    *,
    method: str = "ig",
    ablation: str = "resample",
    errors: str = "keep",
    nodes: int | None = None,
    threshold: float | None = None,
    faithfulness: float = 0.9,
    by_position: bool = False,
    metric: str | None = None,
    steps: int = STEPS,
    limit: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    threads: int = DEFAULT_THREADS,
    progress: Progress = automatic,
) -> FeatureCircuit:
    """Find which features of a dictionary carry a task (Marks et al. 2024): a sparse feature circuit.

    `method`: "ig" integrates gradients in `steps` from clean to ablated values, "attrib" takes one gradient, "exact"
    ablates every node alone. `ablation`: features become those of the corrupted prompt ("resample"), their "mean", or
    "zero". `errors`, what the dictionary leaves unexplained: "keep" in every circuit, "remove" from every one, or
    "rank" among the features. Size: `nodes`, or all with an |effect| of `threshold` in the metric's unit, or as many as
    reach `faithfulness` on the discovery rows. `by_position`: nodes are at single spans of the task, or at positions,
    not at all tokens together. An effect is metric(node ablated) - metric(not ablated), mean over rows. Raises
    InputError for settings that do not fit, and where ablating everything changes nothing.
    """
    settings = FeatureSettings(
        choice(EffectMethod, "method", method),
        choice(FeatureAblation, "ablation", ablation),
        choice(Errors, "errors", errors),
        nodes,
        faithfulness,
        metric,
        steps,
        limit,
        batch_size,
        seed,
        threshold,
        by_position,
    )
    settings.check()
    check_reconstructs(dictionary, model, usual_prompts([row.clean for row in task.rows]))
    with fixed_threads(threads):
        found = run_discovery(model, dictionary, task, settings, progress)
    return to_record(found, model, task, dictionary_record(dictionary, dictionary.name), settings, threads)


@checked
def verify_features(
    model: Model,
    dictionary: FeatureDictionary,
    task: Task,
    circuit: FeatureCircuit,
    *,
    extent: str = "standard",
    rows: int | None = None,
    progress: Progress = automatic,
) -> Report:
    """Measure a feature circuit on the rows that its discovery did not use, as `verify` measures one of components.

    `extent`: "quick" measures only its metrics; "standard" also random circuits of as many features, the circuit
    without single ones, and intervals; "full" also other ablations, completeness and tests. `rows`: the largest number
    of rows to use. Raises InputError where model, dictionary or task are not those that the circuit was found with.
    """
    found = choice(Extent, "extent", extent)
    if found is Extent.none:
        raise InputError("extent 'none' measures nothing: give quick, standard or full")
    scope = Scope(found, rows)
    scope.check("rows")
    return run_verification(model, dictionary, task, circuit, scope, progress)


@checked
def draw_features(circuit: FeatureCircuit) -> Picture:
    """A feature circuit's picture: a notebook shows it, `save` writes it as .svg, .dot, .pdf or .png."""
    return draw_circuit(circuit)


@checked
def ablate_features(
    model: Model,
    dictionary: FeatureDictionary,
    task: Task,
    features: Sequence[str],
    *,
    to: str = "zero",
    batch_size: int = 32,
    seed: int = 0,
) -> list[AblationEffect]:
    """What ablating features everywhere, but at first tokens, does to a task's metric and its accuracy, with intervals.

    `features`: by their names, such as "m3.f12" or "resid_post3.f12". `to`: "zero", or "mean", their means over the
    task's clean prompts. Raises InputError for names that the dictionary does not have.
    """
    if to not in ("zero", "mean"):
        raise InputError(f"to {to!r} is not one of zero, mean")
    chosen = AblatedFeatures(
        model=model.name,
        model_hash=model.content_hash,
        dictionary=dictionary_record(dictionary, dictionary.name),
        features=tuple(features),
        to="mean" if to == "mean" else "zero",
    )
    return ablation_effects(model, dictionary, task, bound_features(chosen, model, dictionary), seed, batch_size)


@checked
def explain(
    model: Model,
    unit: str,
    *,
    tasks: Sequence[Task] = (),
    text: str | Path | None = None,
    dictionary: FeatureDictionary | None = None,
    tokens: int = TOKENS,
    seed: int = 0,
    progress: Progress = automatic,
) -> Explained:
    """Where a neuron ("m3.n117"), a head ("a1.h3") or a dictionary's feature ("m3.f12") is active on the first `tokens`
    of a text file or of the prompts of tasks, what it reads and what it writes.

    Activations of heads are norms of what they write. `seed` draws the examples of weaker activations. Raises
    InputError for a unit that the model or the dictionary does not have.
    """
    if text is not None and tasks:
        raise InputError("give text or tasks, not both")
    return explain_unit(model, unit, _corpus(model, text, tasks), dictionary, tokens, seed, progress)


@checked
def steer(
    model: Model,
    task: Task,
    at: str,
    *,
    unit: str | None = None,
    toward: str | Path | Sequence[str] | None = None,
    away: str | Path | Sequence[str] | None = None,
    pairs: Task | None = None,
    vector: str | Path | Tensor | np.ndarray | None = None,
    dictionary: FeatureDictionary | None = None,
    strengths: Sequence[float] = SteerSettings.strengths,
    metric: str | None = None,
    neutral: str | Path | None = None,
    other_task: Task | None = None,
    prompt: str | None = None,
    generate: int = GENERATED,
    temperature: float = 0.0,
    limit: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress = automatic,
) -> Steered:
    """Add a direction to the residual stream, `at` "resid_pre3" or "resid_post3", with "@PLACE" at some positions
    alone, at several strengths; measure a task's metric with intervals, and what should not change.

    The direction has norm 1, so that a strength is the norm of what is added. It is what a neuron or feature writes
    (`unit`), the mean at the last tokens of one file's prompts, or of a list of prompts (`toward`), less that of
    another's (`away`), that of a task's clean less its corrupted prompts (`pairs`), or a `vector`: a file or an array
    [d_model]. `at` may have TransformerLens' name, "blocks.3.hook_resid_post". Side effects: KL(without ||
    with) in nats on a `neutral` text file, the accuracy of `other_task`, and text that goes on from `prompt`. Random
    directions of the largest strength stand beside. Raises InputError for places that the prompts do not have.
    """
    where, _, place = at.partition("@")
    position = Place.parse(place) if place else Place()
    settings = SteerSettings(Unit.parse(where), position, tuple(map(float, strengths)), metric, limit, batch_size, seed)
    settings.check(model)
    to, less = (Path(one) if isinstance(one, str) else one for one in (toward, away))
    along = Path(vector) if isinstance(vector, str) else vector
    direction = Source(unit, to, less, pairs, along).direction(model, settings.at, dictionary)
    text = None if neutral is None else Path(neutral)
    beside = Beside.of(model, text, other_task, prompt, Sampling(generate, temperature, seed))
    return run_steering(model, direction, task, settings, beside, progress)
