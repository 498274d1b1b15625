"""What the senders of removed edges carry, and the residual stream that consists of nothing else."""

from dataclasses import dataclass

from torch import Tensor

from acdc.execution.components import Components
from acdc.graph import ReaderGroup, ReaderKind


@dataclass(frozen=True)
class Ablated:
    """What removed edges carry: values [writers, rows or 1, positions or 1, d], and of removable within-head edges the
    projections of each layer's q, k and v slots [readers, rows or 1, positions or 1, e]. `hidden`: of removed neurons,
    those of each layer's MLP [rows or 1, positions or 1, F or 1], where there are such."""

    values: Tensor
    projections: tuple[Tensor, ...] = ()
    hidden: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class AblatedStream:
    """The residual stream of a batch with every writer ablated, [rows or 1, positions or 1, d] at each reading place.

    A slot reads this plus, over its kept senders, the current value minus the ablated one. `attention` has an entry per
    layer and one for the logits, `mlp` one per layer. There is none where a post-norm scales an attention bias.
    """

    attention: tuple[Tensor, ...]
    mlp: tuple[Tensor, ...]

    @classmethod
    def of(cls, components: Components, values: Tensor, embeddings: int) -> "AblatedStream":
        """Summed up from the ablated values [writers, rows or 1, positions or 1, d] and the attention biases."""
        shape, stream = components.anatomy, values[:embeddings].sum(0)
        attention, mlp, first = [], [], embeddings
        for layer in range(shape.n_layers):
            attention.append(stream)
            entered, bias = stream, components.attention_bias(layer)
            stream = stream + values[first : first + shape.n_heads].sum(0)
            stream = stream if bias is None else stream + bias
            first += shape.n_heads
            if not shape.attn_only:
                mlp.append(entered if shape.parallel else stream)
                stream = stream + values[first]
                first += 1
        return cls((*attention, stream), tuple(mlp))

    def at(self, group: ReaderGroup) -> Tensor:
        """Where a group of slots reads."""
        return (self.mlp if group.kind is ReaderKind.MLP else self.attention)[group.layer]
