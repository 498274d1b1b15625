"""What of a transformer's shape decides its graph."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Anatomy:
    """Shape of a decoder-like transformer, independent of where its weights come from.

    `parallel`: the MLP reads the same residual as the attention of its layer. `post_norms`: a norm stands between a
    component's output and the residual. `learned_positions`: token and position embeddings are separate addends.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_vocab: int
    d_vocab_out: int
    n_ctx: int
    attn_only: bool = False
    parallel: bool = False
    post_norms: bool = False
    bidirectional: bool = False
    learned_positions: bool = False

    @property
    def grouped(self) -> bool:
        """Whether several query heads share a key and value head."""
        return self.n_kv_heads < self.n_heads

    @property
    def group_size(self) -> int:
        """Query heads per key and value head; head h is served by KV head h // group_size."""
        return self.n_heads // self.n_kv_heads
