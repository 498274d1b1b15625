"""What is trained, and on what."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from acdc.dictionaries.hooks import MLP_INPUTS, MLP_OUTPUTS, Hook, Site
from acdc.dictionaries.run import check_hook, check_sites
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.options import check_count


class TrainedKind(StrEnum):
    """Transcoders read what an MLP reads and write what it writes; SAEs write what they read."""

    transcoder = "transcoder"
    sae = "sae"


class TrainedActivation(StrEnum):
    topk = "topk"
    jumprelu = "jumprelu"


@dataclass(frozen=True)
class TrainSettings:
    """`features` of each layer, of which about `active` are active at a token: exactly the k of TopK, or the L0 that
    the penalty of JumpReLU aims at. `layers` None: all. `site`: what SAEs read. A step takes `batch` tokens of every
    layer."""

    kind: TrainedKind = TrainedKind.transcoder
    activation: TrainedActivation = TrainedActivation.topk
    layers: tuple[int, ...] | None = None
    features: int = 512
    active: int = 16
    site: Site = Site.resid_post
    skip: bool = False
    steps: int = 5000
    batch: int = 512
    rate: float = 1e-3
    seed: int = 0

    def check(self) -> None:
        """Raises InputError for values that cannot be trained with."""
        for option, value in (
            ("--features", self.features),
            ("--active", self.active),
            ("--steps", self.steps),
            ("--batch", self.batch),
        ):
            check_count(option, value, 2**24)
        if self.active >= self.features:
            raise InputError(f"--active {self.active} must be less than the {self.features} of --features")
        if not 0 < self.rate < 1:
            raise InputError(f"--rate {self.rate:g} must be above 0 and below 1")
        if self.skip and self.kind is TrainedKind.sae:
            raise InputError("--skip is for transcoders: an SAE with a skip would have nothing to learn")
        if self.site in (*MLP_INPUTS[:2], *MLP_OUTPUTS[:1]) and self.kind is TrainedKind.sae:
            raise InputError(
                f"--site {self.site}: SAEs are trained on what is in or reaches the residual stream, or on z"
            )

    def hooks(self, model: Model) -> list[tuple[Hook, Hook]]:
        """(where it reads, where it writes) of every layer. Raises InputError for layers that a model lacks, and for
        what no format holds."""
        check_sites(model)
        some = self.layers is not None and set(self.layers) != set(range(model.anatomy.n_layers))
        if some and (self.kind, self.activation) == (TrainedKind.transcoder, TrainedActivation.topk):
            raise InputError(
                "--layers: transcoders of some layers alone are written as SAELens does, which has none with topk: use "
                "--activation jumprelu, or all layers"
            )
        layers = range(model.anatomy.n_layers) if self.layers is None else self.layers
        if self.kind is TrainedKind.transcoder:
            found = [(Hook(layer, Site.mlp_in), Hook(layer, Site.mlp_out)) for layer in layers]
        else:
            found = [(Hook(layer, self.site), Hook(layer, self.site)) for layer in layers]
        for pair in found:
            for hook in pair:
                check_hook(model, hook)
        return found

    def record(self) -> dict[str, object]:
        """For artefacts, and to tell whether a run can be gone on with."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
