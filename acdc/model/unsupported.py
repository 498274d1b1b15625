"""What of a supported family cannot be computed component by component, or is not right in the bridge: refused before
anything is loaded, in a sentence that says what would be supported.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from acdc.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# architectures that transformers and TransformerLens know, and why they have no exact edges
REFUSED_ARCHITECTURES = {
    "Olmo2ForCausalLM": "its queries and keys are normed over all heads together, so that an edge into one head "
    "changes the others; norms of each head are supported, as in qwen3",
}


def check_options(config: "PretrainedConfig", path: Path) -> None:
    """Raises InputError, naming the file, for an option of a family that is not supported."""
    if reason := _unsupported(config):
        raise InputError(f"{path}: {reason}")


def _unsupported(config: "PretrainedConfig") -> str | None:
    family = config.model_type
    if family == "opt" and not config.do_layer_norm_before:
        return (
            "do_layer_norm_before is false, and a norm of the whole residual stream leaves no sum of components: OPT "
            "with norms before each component is supported"
        )
    if family == "opt" and config.word_embed_proj_dim != config.hidden_size:
        return "embeddings narrower than the model are not supported: word_embed_proj_dim must equal hidden_size"
    if family == "bloom" and config.apply_residual_connection_post_layernorm:
        return (
            "apply_residual_connection_post_layernorm is true, and a norm of the whole residual stream leaves no sum "
            "of components: Bloom without it is supported"
        )
    if family == "phi" and config.qk_layernorm:
        return "TransformerLens leaves out the norms that qk_layernorm asks for: Phi without them is supported"
    if family == "falcon" and config.alibi:
        return "TransformerLens scales ALiBi otherwise than Falcon does: Falcon with rotary positions is supported"
    if family == "falcon" and config.new_decoder_architecture:
        return (
            "TransformerLens takes the queries, keys and values of Falcon's new_decoder_architecture apart wrongly: "
            "Falcon without it (such as 7B) is supported"
        )
    return None
