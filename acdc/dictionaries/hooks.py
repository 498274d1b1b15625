"""Where in a model features read and write, and the names that libraries give these places.

Shapes: d the residual width, H heads, e the head width.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from acdc.errors import InputError
from acdc.words import shortened


class Site(StrEnum):
    """A vector that a model computes at every token.

    The residual stream: `embed`, what enters the first layer; `resid_pre`, what enters a layer; `resid_mid`, what
    enters its MLP (with its norm) and, where attention and MLP are parallel, the same as `resid_pre`; `resid_post`,
    what leaves it. Of MLPs: `mlp_normed` is divided by the norm's scale but without the norm's weight and bias,
    `mlp_in` has them, `mlp_out` is before any post-norm, `mlp_added` what reaches the residual stream. Of attention:
    `z` [H * e], what heads mix before the output projection; `attn_out`, what reaches the residual stream.
    """

    embed = "embed"
    resid_pre = "resid_pre"
    resid_mid = "resid_mid"
    resid_post = "resid_post"
    mlp_normed = "mlp_normed"
    mlp_in = "mlp_in"
    mlp_out = "mlp_out"
    mlp_added = "mlp_added"
    z = "z"
    attn_out = "attn_out"


MLP_INPUTS = (Site.mlp_in, Site.mlp_normed, Site.resid_mid)
MLP_OUTPUTS = (Site.mlp_out, Site.mlp_added)

# The names of TransformerLens inside a block, which circuit-tracer and SAELens use, too.
_LENS = {
    "hook_resid_pre": Site.resid_pre,
    "hook_resid_mid": Site.resid_mid,
    "hook_resid_post": Site.resid_post,
    "ln2.hook_normalized": Site.mlp_normed,
    "hook_mlp_in": Site.resid_mid,
    "mlp.hook_in": Site.mlp_in,
    "mlp.hook_out": Site.mlp_out,
    "hook_mlp_out": Site.mlp_added,
    "attn.hook_z": Site.z,
    "hook_attn_out": Site.attn_out,
}
_LENS_NAMES = {site: name for name, site in _LENS.items() if name != "hook_mlp_in"}
# The ends of names of modules in Hugging Face models, as Gemma Scope 2 writes them.
_MODULES = {
    "output": Site.resid_post,
    "pre_feedforward_layernorm.output": Site.mlp_in,
    "mlp.input": Site.mlp_in,
    "mlp.output": Site.mlp_out,
    "post_feedforward_layernorm.output": Site.mlp_added,
    "self_attn.o_proj.input": Site.z,
    "post_attention_layernorm.output": Site.attn_out,
}


@dataclass(frozen=True, order=True)
class Hook:
    """A site of a layer; the embedding's layer is 0."""

    layer: int
    site: Site

    def __str__(self) -> str:
        return self.site.value if self.site is Site.embed else f"{self.site}{self.layer}"

    @property
    def lens_name(self) -> str:
        """As TransformerLens calls it."""
        return "hook_embed" if self.site is Site.embed else f"blocks.{self.layer}.{_LENS_NAMES[self.site]}"

    @property
    def in_block(self) -> str:
        """The same without the block, as circuit-tracer's `config.yaml` has it for all layers."""
        return self.lens_name.split(".", 2)[-1]

    @classmethod
    def parse(cls, name: str, layer: int | None = None) -> "Hook":
        """The place of a name: acdc's own (`resid_post3`), TransformerLens' (`blocks.3.hook_resid_post`; without the
        block, in the `layer` given), or that of a Hugging Face module's input or output
        (`model.layers.3.output`). Raises InputError for any other name."""
        if name in ("embed", "hook_embed", "model.embed_tokens.output"):
            return cls(0, Site.embed)
        own = re.fullmatch(r"([a-z_]+?)(\d{1,4})", name)
        if own and own[1] in set(Site) - {Site.embed}:
            return cls(int(own[2]), Site(own[1]))
        block = re.fullmatch(r"blocks\.(\d{1,4})\.(.+)", name)
        if block and block[2] in _LENS:
            return cls(int(block[1]), _LENS[block[2]])
        if layer is not None and name in _LENS:
            return cls(layer, _LENS[name])
        module = re.fullmatch(
            r"(?:model|transformer|language_model|model\.language_model)\.(?:layers|h)\.(\d{1,4})\.(.+)", name
        )
        if module and module[2] in _MODULES:
            return cls(int(module[1]), _MODULES[module[2]])
        raise InputError(
            f"{shortened(name, 80)} is no place that is known: give acdc's name, such as resid_post3 or mlp_in3, or "
            "TransformerLens' name, such as blocks.3.hook_resid_post"
        )
