"""Hidden neurons: how many the MLPs of a model have, where they are computed from weights."""

from acdc.errors import InputError
from acdc.execution.components import Components
from acdc.model.feed_forward import FeedForward
from acdc.model.functional import FunctionalComponents
from acdc.model.placed import PlacedComponents


def mlp_width(components: Components) -> int:
    """How many hidden neurons each MLP has. Raises InputError for a model without MLPs, with MLPs of different widths,
    or with such as are not computed from their weights."""
    inner = components.inner if isinstance(components, PlacedComponents) else components
    if components.anatomy.attn_only:
        raise InputError("--level neurons: this model has no MLPs, so no hidden neurons: use --level nodes")
    if not isinstance(inner, FunctionalComponents) or inner.kind != "functional":
        which = "all parts are" if not isinstance(inner, FunctionalComponents) else "mixtures of experts are"
        raise InputError(
            f"--level neurons needs every MLP computed from its weights, and in this model {which} computed by its own "
            "modules: use --level nodes or coordinates"
        )
    widths = {layer.mlp.width for layer in inner.weights.layers if isinstance(layer.mlp, FeedForward)}
    if len(widths) != 1:
        raise InputError(
            f"--level neurons needs MLPs of one width, and this model's have {min(widths):,} to {max(widths):,} "
            "neurons: use --level nodes or coordinates"
        )
    return widths.pop()
