"""Compare a model's components with its bridge, destination by destination, on a seeded random prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.execution.components import Components
from acdc.execution.executor import Executor, SlotInputs
from acdc.graph import ATTENTION_SLOTS, Anatomy, ComponentGraph, Reader, ReaderGroup, ReaderKind

if TYPE_CHECKING:
    from transformer_lens import ActivationCache
    from transformer_lens.model_bridge import TransformerBridge

# Largest disagreement, as a share of the largest value. Hugging Face models compute norms and softmax in float32 even
# when their weights are float64, so the bridge is no better than that.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
_LENGTH = 12


@dataclass(frozen=True)
class Disagreement:
    """Where components and bridge first differ, in the order of computation, by how much, and what is allowed."""

    destination: str
    by: float
    allowed: float

    def __str__(self) -> str:
        return f"{self.destination} differs by {self.by:.2g} where {self.allowed:.2g} is allowed"


def probe_tokens(shape: Anatomy) -> Tensor:
    """Two prompts of random tokens, [2, positions]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, shape.d_vocab, (2, min(shape.n_ctx, _LENGTH)), generator=generator)


class _MlpInputs(SlotInputs):
    """Records what the MLPs read."""

    def __init__(self) -> None:
        self.seen: dict[int, Tensor] = {}

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        if group.kind is ReaderKind.MLP:
            self.seen[group.layer] = residual
        return residual[None]


@torch.no_grad()
def first_disagreement(
    components: Components, graph: ComponentGraph, bridge: "TransformerBridge"
) -> Disagreement | None:
    """The first destination where they differ by more than rounding; None where they agree everywhere.

    Raises InputError for a model whose own logits are not finite.
    """
    shape, device = components.anatomy, bridge.cfg.device
    tokens = probe_tokens(shape).to(device)
    logits, cache = bridge.run_with_cache(tokens)
    if not logits.isfinite().all():
        raise InputError("the model gives logits that are not finite: its weights are damaged")
    mlp_inputs = _MlpInputs()
    trace = Executor(components, graph).run(tokens, torch.zeros(2, dtype=torch.long, device=device), mlp_inputs)
    pairs = _slots(components, graph, trace.residuals, mlp_inputs.seen, cache)
    for destination, ours, theirs in (*pairs, ("logits", components.unembed(trace.residuals[-1]), logits)):
        by = (ours.double() - theirs.to(ours.device).double()).abs().max().item()
        allowed = TOLERANCE[logits.dtype] * max(1.0, theirs.abs().max().item())
        if not by <= allowed:
            return Disagreement(destination, by, allowed)
    return None


def _slots(
    components: Components,
    graph: ComponentGraph,
    residuals: tuple[Tensor, ...],
    mlp_inputs: dict[int, Tensor],
    cache: "ActivationCache",
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(slot, what it gets from our components, what from the bridge): queries, keys, values, inputs of MLPs."""
    for group in graph.groups:
        if group.kind in ATTENTION_SLOTS:
            ours = components.project(group.layer, group.kind, residuals[group.layer][None])
            theirs = cache[f"blocks.{group.layer}.attn.{group.kind.value}.hook_out"].permute(2, 0, 1, 3)
            yield from ((slot.id, a, b) for slot, a, b in zip(group.readers, ours, theirs, strict=True))
        elif group.kind is ReaderKind.MLP:
            theirs = cache[_mlp_input(cache, group.layer)]
            yield Reader(ReaderKind.MLP, group.layer).id, mlp_inputs[group.layer], theirs
    yield "logits", residuals[-1], cache["ln_final.hook_in"]


def _mlp_input(cache: "ActivationCache", layer: int) -> str:
    """The name of what an MLP reads before its norm: it may share the attention's, or have none."""
    names = (f"blocks.{layer}.{module}.hook_in" for module in ("ln2", "ln1", "mlp"))
    return next(name for name in names if name in cache)
