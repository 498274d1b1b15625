"""What a dictionary is, whatever file it came from: sets of features that each read one place and write others.

A set encodes what it reads, x [..., d_in] -> activations [..., F], and decodes them to what it writes. An SAE writes
where it reads (Bricken et al. 2023; Gao et al. 2024, arXiv 2406.04093, TopK; Rajamanoharan et al. 2024, arXiv
2407.14435, JumpReLU, and arXiv 2404.16014, gated); a transcoder reads what an MLP reads and writes what it writes
(Dunefsky et al. 2024, arXiv 2406.11944), a cross-layer one into several layers, and with a skip also a linear function
of what is read. Rows of the encoder and of the decoder are one per feature, whatever their orientation in a file.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor

from acdc.dictionaries.hooks import MLP_INPUTS, MLP_OUTPUTS, Hook
from acdc.dictionaries.tensors import Held, Matrix
from acdc.errors import InputError
from acdc.execution.products import product

_EPS = 1e-5


class ActivationKind(StrEnum):
    """z where it is above 0; z where it is above a feature's threshold; the k largest that are above 0; the largest of
    each of k groups; or scale * z + shift, rectified, where z is above 0 (gated)."""

    relu = "relu"
    jumprelu = "jumprelu"
    topk = "topk"
    groupmax = "groupmax"
    gated = "gated"


@dataclass(frozen=True, eq=False)
class Activation:
    """What becomes of z [..., F]. `threshold` [F] of JumpReLU; `k` of TopK and GroupMax; `scale` and `shift` [F] of
    gated; TopK chooses by z * `selection` [F] where that is given."""

    kind: ActivationKind = ActivationKind.relu
    threshold: Tensor | None = None
    k: int | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    selection: Tensor | None = None

    def __call__(self, z: Tensor) -> Tensor:
        match self.kind:
            case ActivationKind.relu:
                return z.relu()
            case ActivationKind.jumprelu:
                assert self.threshold is not None
                return torch.where(z > self.threshold, z, 0.0)
            case ActivationKind.gated:
                assert self.scale is not None and self.shift is not None
                return torch.where(z > 0, (z * self.scale + self.shift).relu(), 0.0)
            case ActivationKind.topk:
                assert self.k is not None
                chosen = (z if self.selection is None else z * self.selection).topk(min(self.k, z.shape[-1])).indices
                return torch.zeros_like(z).scatter(-1, chosen, z.gather(-1, chosen).relu())
            case ActivationKind.groupmax:
                assert self.k is not None
                grouped = z.relu().unflatten(-1, (self.k, -1))
                best = grouped.argmax(-1, keepdim=True)
                return torch.zeros_like(grouped).scatter(-1, best, grouped.gather(-1, best)).flatten(-2)

    def describe(self) -> str:
        return self.kind.value if self.k is None else f"{self.kind} {self.k:,}"


class Normalisation(StrEnum):
    """What is done to x before it is encoded, and undone after decoding: nothing; scaled to norm sqrt(d); or its mean
    taken off and divided by its standard deviation."""

    none = "none"
    constant_norm = "constant_norm"
    layer_norm = "layer_norm"

    def into(self, x: Tensor) -> Tensor:
        if self is Normalisation.none:
            return x
        factor, mean = self._of(x)
        return (x - mean) / (factor + (_EPS if self is Normalisation.layer_norm else 0.0))

    def back(self, out: Tensor, x: Tensor) -> Tensor:
        """What is decoded, in the scale of x."""
        if self is Normalisation.none:
            return out
        factor, mean = self._of(x)
        return out * factor + mean

    def _of(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        if self is Normalisation.constant_norm:
            return x.norm(dim=-1, keepdim=True) / math.sqrt(x.shape[-1]), 0.0
        return x.std(-1, keepdim=True), x.mean(-1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Features:
    """F features that read at one hook. `writes`: where they write, their own place first, with a decoder for each.

    Encoder [F, d_in], `bias` [F]; decoders [F, d_out], `constant` [d_out], which is written at the first of `writes`
    whatever is read; `centre` [d_in] is taken off x first, after any normalisation; `skip` [d_out, d_in]: x times its
    transpose is written there too. `block`: bytes of rows that are read from a file at once.
    """

    reads: Hook
    writes: tuple[Hook, ...]
    encoder: Matrix
    bias: Tensor
    decoders: tuple[Matrix, ...]
    constant: Tensor
    activation: Activation = Activation()
    centre: Tensor | None = None
    skip: Tensor | None = None
    normalisation: Normalisation = Normalisation.none
    block: int = 2**26

    @property
    def size(self) -> int:
        return self.encoder.shape[0]

    @property
    def kind(self) -> str:
        if len(self.writes) > 1:
            return "cross-layer transcoder"
        return "SAE" if self.reads == self.writes[0] else "transcoder"

    def encode(self, x: Tensor) -> Tensor:
        """[..., d_in] -> [..., F], 0 for features that are not active."""
        x = self.normalisation.into(x)
        x = x if self.centre is None else x - self.centre
        if isinstance(self.encoder, Held):
            return self.activation(product(x, self.encoder.values.T, self.bias))
        z = x.new_empty((*x.shape[:-1], self.size))
        for run in self._blocks(self.encoder):
            z[..., run] = product(x, self.encoder.rows(run).T, self.bias[run])
        return self.activation(z)

    def contributed(self, activations: Tensor, to: int = 0) -> Tensor:
        """What activations [..., F] write at the hook `writes[to]`, constants left out: [..., d_out]."""
        decoder = self.decoders[to]
        if isinstance(decoder, Held):
            return product(activations, decoder.values)
        flat = activations.reshape(-1, self.size)
        active, out = torch.nonzero((flat != 0).any(0))[:, 0], flat.new_zeros((len(flat), decoder.shape[1]))
        for start in range(0, len(active), step := self._step(decoder)):
            some = active[start : start + step]
            out = out + flat[:, some] @ decoder.rows(some)
        return out.view(*activations.shape[:-1], -1)

    def decode(self, activations: Tensor, x: Tensor) -> Tensor:
        """What takes the place of what is at the first of `writes`, for x [..., d_in]; of a cross-layer transcoder,
        these features' share of it."""
        out = self.contributed(activations) + self.constant
        out = self.normalisation.back(out, x)
        return out if self.skip is None else out + product(x, self.skip.T)

    def _step(self, matrix: Matrix) -> int:
        """Rows in a block."""
        return max(1, self.block // (matrix.shape[1] * self.bias.element_size()))

    def _blocks(self, matrix: Matrix) -> Iterator[slice]:
        for start in range(0, self.size, step := self._step(matrix)):
            yield slice(start, min(start + step, self.size))


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Sets of features in the order of what they read. `format`: of the file, `model_name` and `scan` as it names
    them: the model, and the name by which front ends find pages of features. `digest`: SHA-256 of the files."""

    name: str
    format: str
    sets: tuple[Features, ...]
    digest: str
    model_name: str | None = None
    scan: str | None = None

    def __repr__(self) -> str:
        return (
            f"<Dictionary: {self.name} ({self.format}), {self.kind}, {self.size:,} features at {len(self.sets)} hooks>"
        )

    @property
    def size(self) -> int:
        """Features altogether."""
        return sum(one.size for one in self.sets)

    @cached_property
    def kind(self) -> str:
        kinds = {one.kind for one in self.sets}
        return "cross-layer transcoder" if "cross-layer transcoder" in kinds else " and ".join(sorted(kinds))

    @cached_property
    def targets(self) -> tuple[Hook, ...]:
        """The hooks that are reconstructed."""
        return tuple(dict.fromkeys(one.writes[0] for one in self.sets))

    @property
    def hooks(self) -> frozenset[Hook]:
        """All that it reads or writes."""
        return frozenset(hook for one in self.sets for hook in (one.reads, *one.writes))

    def at(self, hook: Hook) -> Features:
        """The features that read at a hook. Raises InputError where none do."""
        for one in self.sets:
            if one.reads == hook:
                return one
        raise InputError(f"dictionary {self.name} has no features at {hook}: it has {self.places()}")

    def of_layer(self, layer: int) -> Features:
        """The only features that read in a layer. Raises InputError where there are none or several sets."""
        found = [one for one in self.sets if one.reads.layer == layer]
        if len(found) != 1:
            raise InputError(
                f"dictionary {self.name} has {'several sets of' if found else 'no'} features in layer {layer}: it has "
                f"{self.places()}"
            )
        return found[0]

    def places(self) -> str:
        """Where it reads, in words."""
        names = [str(one.reads) for one in self.sets]
        return ", ".join(names if len(names) < 7 else [*names[:3], "...", names[-1]])

    def reconstruct(self, inputs: Mapping[Hook, Tensor], encoded: Mapping[Hook, Tensor]) -> dict[Hook, Tensor]:
        """What takes the place of what the model has at every target, by what sets read [..., d_in] and by their
        activations [..., F]."""
        found: dict[Hook, Tensor] = {}
        for one in self.sets:
            activations, x = encoded[one.reads], inputs[one.reads]
            parts = [one.decode(activations, x)]
            parts += [one.contributed(activations, to) for to in range(1, len(one.writes))]
            for hook, part in zip(one.writes, parts, strict=True):
                found[hook] = found[hook] + part if hook in found else part
        return {hook: found[hook] for hook in self.targets}

    @property
    def replaces_mlps(self) -> bool:
        """Whether all sets read what MLPs read and write what they write."""
        return all(
            one.reads.site in MLP_INPUTS and all(hook.site in MLP_OUTPUTS for hook in one.writes) for one in self.sets
        )
