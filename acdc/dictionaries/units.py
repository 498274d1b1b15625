"""Features as the units of an attribution graph: see `acdc.attribution.dictionary`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from acdc.artefacts.attribution.nodes import NodeKind
from acdc.attribution.dictionary import UnitLayer
from acdc.dictionaries.dictionary import Dictionary, Features, Normalisation
from acdc.dictionaries.hooks import MLP_INPUTS, Site
from acdc.dictionaries.open import check_fits, open_for
from acdc.dictionaries.quality import check_reconstructs
from acdc.dictionaries.run import check_sites
from acdc.errors import InputError
from acdc.model.load import Model


@dataclass(frozen=True, eq=False)
class FeatureLayer:
    """See `acdc.attribution.dictionary.UnitLayer`. `norm_weight` [d]: what divides the input first, where features read
    what the norm gives before its weight and the graph what it gives after; `norm_bias` is taken off before."""

    features: Features
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    @property
    def size(self) -> int:
        return self.features.size

    @property
    def constant(self) -> Tensor:
        skipped = self._skipped_constant()
        return self.features.constant if skipped is None else self.features.constant + skipped

    @property
    def skip(self) -> Tensor | None:
        skip = self.features.skip
        return skip if skip is None or self.norm_weight is None else skip / self.norm_weight

    @property
    def targets(self) -> range:
        return range(self.features.reads.layer, self.features.writes[-1].layer + 1)

    def activations(self, x: Tensor) -> Tensor:
        return self.features.encode(self._plain(x))

    def reads(self, x: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        vectors, constants = self.features.encoder.rows(units), self.features.bias[units]
        if self.features.centre is not None:
            constants = constants - vectors @ self.features.centre
        scale, shift = self.features.activation.scale, self.features.activation.shift
        if scale is not None and shift is not None:
            vectors, constants = vectors * scale[units, None], constants * scale[units] + shift[units]
        if self.norm_weight is not None:
            vectors = vectors / self.norm_weight
            constants = constants if self.norm_bias is None else constants - vectors @ self.norm_bias
        return vectors, constants

    def writes(self, units: Tensor | slice, to: int) -> Tensor:
        return self.features.decoders[to - self.features.reads.layer].rows(units)

    def _plain(self, x: Tensor) -> Tensor:
        if self.norm_weight is None:
            return x
        return (x if self.norm_bias is None else x - self.norm_bias) / self.norm_weight

    def _skipped_constant(self) -> Tensor | None:
        """What a skip makes of the norm's bias that is taken off."""
        if self.skip is None or self.norm_bias is None:
            return None
        return -(self.norm_bias @ self.skip.T)


class TracedFeatures:
    """See `acdc.attribution.dictionary.Dictionary`."""

    kind = NodeKind.FEATURE
    complete = False

    def __init__(self, dictionary: Dictionary, model: Model):
        """Raises InputError for features that do not stand for MLPs, or not for those of this model."""
        check_fits(dictionary, model)
        _check_traceable(dictionary)
        self.dictionary = dictionary
        first = dictionary.sets[0]
        self.normed = first.reads.site is not Site.resid_mid
        self.inside = model.anatomy.post_norms and first.writes[0].site is Site.mlp_out
        by_layer = {one.reads.layer: one for one in dictionary.sets}
        self.layers: Sequence[UnitLayer | None] = [
            _layer(by_layer[layer], model) if layer in by_layer else None for layer in range(model.anatomy.n_layers)
        ]

    def describe(self) -> dict[str, str]:
        per_layer = self.dictionary.kind != "cross-layer transcoder"
        what = "per-layer transcoders" if per_layer else "cross-layer transcoders"
        return {"units": f"features of {what}", "content_hash": self.dictionary.digest}


def _layer(features: Features, model: Model) -> FeatureLayer:
    if features.reads.site is not Site.mlp_normed:
        return FeatureLayer(features, None, None)
    norm = check_sites(model).weights.layers[features.reads.layer].mlp_norm
    if norm is None or norm.weight is None:
        return FeatureLayer(features, None, None)
    if not norm.weight.all():
        raise InputError(
            f"layer {features.reads.layer}: the norm's weight has zeros, so that features cannot be traced"
        )
    dtype = features.bias.dtype
    return FeatureLayer(features, norm.weight.to(dtype), None if norm.bias is None else norm.bias.to(dtype))


def open_traced(
    folder: Path, model: Model, *, memory: int | None = None, check: Sequence[Sequence[int]] = ()
) -> TracedFeatures:
    """The features of a folder for a trace. `memory`: see `read_dictionary`; `check`: prompts of token ids on which
    they have to reconstruct what the model has. Raises InputError for those that do not fit, or do not reconstruct."""
    found = TracedFeatures(open_for(folder, model, memory=memory), model)
    if check:
        check_reconstructs(found.dictionary, model, check)
    return found


def _check_traceable(dictionary: Dictionary) -> None:
    if not dictionary.replaces_mlps:
        raise InputError(
            f"dictionary {dictionary.name} is of {dictionary.kind}s at {dictionary.places()}: a trace needs "
            f"transcoders, which read {', '.join(MLP_INPUTS)} and write mlp_out or mlp_added"
        )
    places = {(one.reads.site is not Site.resid_mid, one.writes[0].site) for one in dictionary.sets}
    if len(places) > 1:
        raise InputError(f"dictionary {dictionary.name} reads or writes at different places in different layers")
    for one in dictionary.sets:
        if any(hook.layer != one.reads.layer + to for to, hook in enumerate(one.writes)):
            raise InputError(f"features at {one.reads} do not write to their own layer and those that follow")
        if one.normalisation is not Normalisation.none:
            raise InputError(
                f"features at {one.reads} normalise what they read ({one.normalisation.value}), which is not linear: "
                "they cannot be traced"
            )
