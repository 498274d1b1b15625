"""How well a dictionary reconstructs what a model has on real prompts, and why it does not where it does not.

Of each target: the share of variance unexplained, the sum of squared errors over that of deviations from the mean; L0,
active features per token; and dead features, active at no token. Positions of a prompt's first token are left out, as
models write far larger numbers there and circuit-tracer's dictionaries are not made for them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from acdc.dictionaries.dictionary import Dictionary, Features, Normalisation
from acdc.dictionaries.hooks import MLP_INPUTS, MLP_OUTPUTS, Hook, Site
from acdc.dictionaries.open import check_fits
from acdc.dictionaries.run import padded, sites_of
from acdc.dictionaries.tensors import Held
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.progress import Progress, silent
from acdc.words import count_of

BATCH = 16
ENOUGH_TOKENS = 4096  # for a check at load
_EXPLAINS = 0.5  # unexplained: below this, another reading of the file is the right one


@dataclass(frozen=True)
class Quality:
    """Of the features that read at one hook. `unexplained`: of what is at their own target, by all that write there."""

    reads: Hook
    writes: Hook
    features: int
    unexplained: float
    l0: float
    dead: int


@dataclass
class _Sums:
    """Of what is at a target: squared errors, and the values' sums and squares."""

    count: int = 0
    error: float = 0.0
    square: float = 0.0
    total: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))

    def add(self, found: Tensor, wanted: Tensor) -> None:
        found, wanted = found.double(), wanted.double()
        self.count += len(wanted)
        self.error += float((found - wanted).square().sum())
        self.square += float(wanted.square().sum())
        self.total = self.total.to(wanted.device) + wanted.sum(0)

    @property
    def unexplained(self) -> float:
        variance = self.square - float(self.total.square().sum()) / max(1, self.count)
        return self.error / variance if variance > 0 else float("nan")


def batches(model: Model, prompts: Sequence[Sequence[int]], size: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
    """(token ids [B, P], which of them are of a prompt [B, P]), of prompts in their order; of one length where a model
    looks at what follows."""
    start = 0
    while start < len(prompts):
        end = start + 1
        alike = model.components.whole_prompts
        while end < min(len(prompts), start + size) and (not alike or len(prompts[end]) == len(prompts[start])):
            end += 1
        yield padded(prompts[start:end], model.device)
        start = end


def usual_prompts(prompts: Iterable[Sequence[int]], tokens: int = ENOUGH_TOKENS) -> list[Sequence[int]]:
    """The first prompts that have so many tokens together."""
    found, total = list[Sequence[int]](), 0
    for prompt in prompts:
        if total >= tokens:
            break
        found.append(prompt)
        total += len(prompt)
    return found


@torch.no_grad()
def measure_quality(
    dictionary: Dictionary, model: Model, prompts: Sequence[Sequence[int]], progress: Progress = silent
) -> list[Quality]:
    """On prompts of token ids, their first tokens left out. Raises InputError where nothing is left."""
    if not any(len(prompt) > 1 for prompt in prompts):
        raise InputError("a dictionary is measured on prompts of at least two tokens, and there are none")
    sums = {hook: _Sums() for hook in dictionary.targets}
    active = {one.reads: torch.zeros(one.size, dtype=torch.long, device=model.device) for one in dictionary.sets}
    tokens_seen = 0
    with progress("reconstructing", len(prompts), "prompts") as advance:
        for tokens, there in batches(model, prompts):
            there = there.clone()
            there[:, 0] = False
            tokens_seen += int(there.sum())
            values = {hook: x[there] for hook, x in sites_of(model, tokens, dictionary.hooks).items()}
            encoded = {one.reads: one.encode(values[one.reads]) for one in dictionary.sets}
            for reads, activations in encoded.items():
                active[reads] += (activations != 0).sum(0)
            for hook, found in dictionary.reconstruct(values, encoded).items():
                sums[hook].add(found, values[hook])
            advance(len(tokens))
    return [
        Quality(
            one.reads,
            one.writes[0],
            one.size,
            sums[one.writes[0]].unexplained,
            float(active[one.reads].sum()) / tokens_seen,
            int((active[one.reads] == 0).sum()),
        )
        for one in dictionary.sets
    ]


def check_reconstructs(
    dictionary: Dictionary, model: Model, prompts: Sequence[Sequence[int]], quality: Sequence[Quality] | None = None
) -> Sequence[Quality]:
    """The figures, of `quality` where they are known. Raises InputError for features whose reconstruction is worse than
    the mean alone, and names the likely cause: another reading of the file that does reconstruct."""
    found = quality or measure_quality(dictionary, model, prompts)
    bad = next((one for one in found if not one.unexplained < 1.0), None)
    if bad is None:
        return found
    cause = _cause(dictionary.at(bad.reads), dictionary, model, prompts)
    raise InputError(
        f"dictionary {dictionary.name} does not reconstruct {bad.writes} of model {model.name!r}: "
        f"{bad.unexplained:.0%} of the variance is unexplained on {count_of(len(prompts), 'prompt')}, more than by the "
        f"mean alone; {cause}"
    )


def _cause(bad: Features, dictionary: Dictionary, model: Model, prompts: Sequence[Sequence[int]]) -> str:
    """What would reconstruct, in words."""
    if len(bad.writes) > 1:
        return "it may be of another model, or of another place than its settings say"
    for words, reading in _readings(bad):
        try:
            check_fits(replace(dictionary, sets=(reading,)), model)
            quality = measure_quality(replace(dictionary, sets=(reading,)), model, prompts)[0]
        except InputError:  # of a place that this model lacks, or where it has another width
            continue
        if quality.unexplained < _EXPLAINS:
            return f"{words}: so read, {quality.unexplained:.1%} is unexplained"
    return "it may be of another model, or of another place than its settings say"


def _readings(bad: Features) -> Iterator[tuple[str, Features]]:
    """Other readings of a set of features, in words and as they would be."""
    if isinstance(bad.encoder, Held) and bad.encoder.shape[0] == bad.encoder.shape[1]:
        yield "its encoder is stored transposed", _transposed(bad, "encoder")
        yield "its decoder is stored transposed", _transposed(bad, "decoder")
        yield "its encoder and decoder are stored transposed", _transposed(_transposed(bad, "encoder"), "decoder")
    if bad.skip is not None:
        yield "its skip is stored transposed", replace(bad, skip=bad.skip.T)
    for kind in (Normalisation.constant_norm, Normalisation.layer_norm):
        if bad.normalisation is not kind:
            yield f"it was trained on a normalised input ({kind.value})", replace(bad, normalisation=kind)
    if bad.centre is None and bad.kind == "SAE":
        yield "its decoder bias has to be taken off the input first", replace(bad, centre=bad.constant)
    if bad.centre is not None:
        yield "its decoder bias must not be taken off the input", replace(bad, centre=None)
    yield from _elsewhere(bad)


def _elsewhere(bad: Features) -> Iterator[tuple[str, Features]]:
    layer, transcodes = bad.reads.layer, bad.kind == "transcoder"
    if transcodes:
        places = [Hook(layer, site) for site in MLP_INPUTS]
    else:
        stream = (Site.resid_pre, Site.resid_mid, Site.resid_post)
        places = [Hook(near, site) for near in (layer, layer - 1, layer + 1) for site in stream if near >= 0]
    for hook in places:
        if hook != bad.reads:
            yield (
                f"it reads another place, {hook}",
                replace(bad, reads=hook, writes=bad.writes if transcodes else (hook,)),
            )
    for site in MLP_OUTPUTS if transcodes else ():
        if (Hook(layer, site),) != bad.writes:
            yield f"it writes at another place, {Hook(layer, site)}", replace(bad, writes=(Hook(layer, site),))


def _transposed(features: Features, what: str) -> Features:
    if what == "encoder":
        return replace(features, encoder=_turn(features.encoder))
    return replace(features, decoders=tuple(map(_turn, features.decoders)))


def _turn(matrix: object) -> Held:
    assert isinstance(matrix, Held)
    return Held(matrix.values.T.contiguous())
