"""How much memory an attribution works with on a batch, reckoned from shapes before it begins.

The terms are what a method holds at its peak, besides the clean run; where operations make copies that no name is given
to, the factors were found by counting (`acdc.execution.dry_run`). A test keeps the sum between 0.9 and 1.5 of what is
counted.
"""

from dataclasses import dataclass

import torch

from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.execution.dry_run import is_dry
from acdc.execution.machine import free_memory
from acdc.graph import Anatomy, ReaderKind
from acdc.graph.units import kind_of
from acdc.options import Level

# Of the memory that is free. On a CPU allocators keep up to half as much again for tensors of other sizes (measured
# with glibc; with every tensor mapped by itself a process takes what is counted).
USABLE = {"cpu": 0.6, "cuda": 0.9}
WIDENED = 16  # senders whose changes are held in a wider dtype at a time
MOST_NUMBERS = 2**25  # what the senders whose patterns are computed anew together may take


def has_room(behaviour: Behaviour, method: str, runs: int, level: Level, batch: Batch) -> bool:
    """Whether a method can be expected to find the memory for a batch; where the system does not say, it can. `runs`,
    `level`: as for `working_bytes`."""
    if is_dry(batch.tokens):
        return True
    device = behaviour.model.device
    free = free_memory(device)
    return free is None or working_bytes(behaviour, method, batch, runs, level) <= USABLE[device.type] * free


def working_bytes(behaviour: Behaviour, method: str, batch: Batch, runs: int = 1, level: Level = Level.edges) -> float:
    """Bytes that a method needs for a batch, besides those that the batch itself holds. `runs`: forward and back,
    gradients of which are held together. `level`: of whose units it gives scores."""
    sizes = _Sizes.of(behaviour, batch, len(behaviour.spans) if kind_of(level).have_spans else 1)
    passes, taken_down = sizes.kept + 4 * sizes.logits, sizes.layers * (2 * sizes.stream + sizes.projected)
    if method == "ifr":
        one_layer = sizes.projected + sizes.patterns + 2.5 * sizes.heads + sizes.widened
        return sizes.outputs + sizes.layers * sizes.stream + one_layer + 2 * sizes.logits
    if method == "hisp":
        return sizes.outputs + max(passes + 3 * sizes.heads, sizes.outputs + 4 * sizes.widened + 4 * sizes.logits)
    if method == "atp-star" and not kind_of(level).have_spans:
        per_layer = sizes.layers**2 * sizes.stream  # gradients at what heads write, of every run
        return (
            1.8 * sizes.outputs + per_layer + max(passes + 1.5 * sizes.slots, _patterns_anew(behaviour, batch, sizes))
        )
    if method in ("peap", "atp-star"):
        return 2 * sizes.outputs + max(taken_down + passes, _patterns_anew(behaviour, batch, sizes))
    widened = 2 * min(WIDENED * sizes.stream, sizes.outputs) if sizes.widened else 0
    contracted = taken_down + (2.2 if kind_of(level).have_spans else 1.8) * sizes.slots + widened
    mixed = runs * sizes.heads if method == "eap-ig-activations" else 0
    if kind_of(level).have_neurons:
        mixed += (2 + runs) * sizes.neurons  # on the clean prompts, what ablation changes, and gradients
    return sizes.outputs + runs * taken_down + mixed + max(sizes.outputs + passes, contracted)


@dataclass(frozen=True)
class _Sizes:
    """Bytes: the `outputs` of all components; one residual `stream`; of one layer the queries, keys and values that are
    `projected`, the `patterns`, gradients at the inputs of its attention `slots` and at the outputs of its `heads`, and
    those outputs `widened` (0 where they are wide); the hidden `neurons` of all MLPs; what runs have `kept` for
    backward passes of all `layers` besides outputs; and the `logits`."""

    layers: int
    outputs: int
    stream: int
    projected: int
    patterns: int
    slots: int
    heads: int
    widened: int
    neurons: int
    kept: float
    logits: int

    @classmethod
    def of(cls, behaviour: Behaviour, batch: Batch, spans: int) -> "_Sizes":
        """With keys and values apart for the queries of so many `spans`."""
        shape, config, dtype = behaviour.model.anatomy, behaviour.model.bridge.cfg, behaviour.model.dtype
        narrow, wide = dtype.itemsize, torch.promote_types(dtype, torch.float32).itemsize
        tokens, slots = batch.tokens.numel(), shape.n_heads + 2 * shape.n_kv_heads * spans
        stream, projected = tokens * shape.d_model * narrow, tokens * slots * shape.d_head * narrow
        heads = shape.n_heads * tokens * shape.d_model * wide
        patterns = shape.n_heads * tokens * batch.tokens.shape[1] * wide
        neurons = 0 if shape.attn_only else tokens * (config.d_mlp or 0) * narrow
        hidden = neurons * (3 if config.gated_mlp else 1)
        hidden *= getattr(config, "experts_per_token", None) or 1
        # norms in the wider type; under post-norms (gemma) heads before their scale, and soft caps of the patterns
        kept = 2 * stream + stream * wide / narrow + 1.5 * projected + 1.1 * hidden
        kept += 3 * patterns + shape.n_heads * stream if shape.post_norms else 1.25 * patterns
        return cls(
            layers=shape.n_layers,
            outputs=len(behaviour.graph.writers) * stream,
            stream=stream,
            projected=projected,
            patterns=patterns,
            slots=slots * tokens * shape.d_model * wide,
            heads=heads,
            widened=0 if narrow == wide else heads,
            neurons=shape.n_layers * neurons,
            kept=shape.n_layers * kept,
            logits=len(batch.answers.rows) * shape.d_vocab_out * wide,
        )


def senders_together(shape: Anatomy, rows: int, positions: int) -> int:
    """For how many senders at a time AtP* computes patterns anew."""
    numbers = shape.d_model + shape.n_heads * (2 * shape.d_head + 2 * positions)
    return max(1, MOST_NUMBERS // (rows * positions * numbers))


def _patterns_anew(behaviour: Behaviour, batch: Batch, sizes: _Sizes) -> float:
    """What AtP* needs to compute patterns anew, when the passes are over: those and what they are made of for some
    senders at a time, and the gradients at them for every run."""
    shape = behaviour.model.anatomy
    last = behaviour.graph.group_at[shape.n_layers - 1, ReaderKind.Q]
    together = min(last.senders, senders_together(shape, *batch.tokens.shape))
    heads = batch.tokens.numel() * shape.n_heads * shape.d_head * behaviour.model.dtype.itemsize
    rotated = 0 if shape.learned_positions else heads
    some = together * (sizes.stream + 3.5 * heads + rotated + 2.7 * sizes.patterns)
    taken_down = sizes.layers * (4 * sizes.stream + 2 * sizes.projected)
    return taken_down + 2 * (sizes.layers + 1) * sizes.patterns + some
