"""The executor against brute force: every edge of every family, each destination by itself."""

import copy
from collections import defaultdict

import numpy as np
import pytest
import torch
from brute_force import BruteForce, float64_throughout, names_of
from families import HUGGING_FACE, MORE, NATIVE, VOCABULARY, hugging_face, randomise, thorough_if_alike
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.model_bridge.sources.native.model import NativeModel

from acdc.execution.ablated import Ablated, AblatedStream
from acdc.execution.executor import Executor, RemovedEdges
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.subgraph import Prompts, SubgraphRun
from acdc.graph import ComponentGraph
from acdc.model.functional import FunctionalComponents
from acdc.model.load import read_anatomy
from acdc.model.weights import read_weights

LENGTH = 7


def build(family: str):
    """(plain model, executor over a bridge of its copy)."""
    if family not in NATIVE:
        plain = hugging_face(family)
        bridge = build_bridge_from_module(
            copy.deepcopy(plain), type(plain).__name__, hf_config=plain.config, dtype=torch.float64
        )
    else:
        config = TransformerBridgeConfig.from_dict({**NATIVE[family], "dtype": torch.float64})
        # without norms nothing tames the activations, and 1e-10 would be below their rounding
        plain = randomise(NativeModel(config).double(), scale=0.3 if config.normalization_type is None else 0.8)
        bridge = build_bridge_from_module(copy.deepcopy(plain), "TransformerLensNative", tl_config=config)
    bridge.original_model.requires_grad_(False)
    graph = ComponentGraph(read_anatomy(bridge))
    return plain, Executor(FunctionalComponents(read_weights(bridge), graph.anatomy), graph)


def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    clean, corrupted = (torch.randint(0, VOCABULARY, (2, LENGTH), generator=generator) for _ in range(2))
    return clean, corrupted


@torch.no_grad()
@pytest.mark.parametrize("family", [*HUGGING_FACE, *MORE, *NATIVE])
def test_every_edge_equals_brute_force(family):
    plain, executor = build(family)
    graph, (clean, corrupted) = executor.graph, prompts()
    anatomy = graph.anatomy
    oracle = BruteForce(plain, names_of(family), anatomy.n_heads, anatomy.d_head, anatomy.n_kv_heads)
    positions = torch.tensor([LENGTH - 1, LENGTH - 2])
    rows = torch.arange(2)
    with float64_throughout(plain):
        full = oracle.logits(clean)[rows, positions]
        ours, residuals = oracle.contributions(clean)
        theirs, _ = oracle.contributions(corrupted)
        trace = executor.run(clean, positions)
        ablated = Ablated(executor.run(corrupted, positions).values)
        assert (trace.logits - full).abs().max() < 1e-10
        effects = defaultdict(float)
        for index, edge in enumerate(graph.edges):
            change = theirs[edge.writer.id] - ours[edge.writer.id]
            expected = oracle.patched(clean, edge.reader.id, change, residuals)[rows, positions]
            removed = np.zeros((1, graph.n_edges), dtype=bool)
            removed[0, index] = True
            got = executor.resume(trace, 0, 1, positions, RemovedEdges(executor.graph, removed, ablated, 2)).logits
            assert (got - expected).abs().max() < 1e-10, edge.id
            effects[edge.reader.id] = max(effects[edge.reader.id], (expected - full).abs().max().item())
    assert min(effects.values()) > 1e-3, "a destination without any effect would hide a dead hook"
    assert max(effects.values()) > 0.3


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt-neox-parallel", "gemma2", "native-attention-only"])
def test_candidates_and_resuming_change_nothing(family):
    """Several subgraphs in one resumed pass give what each gives alone from the start."""
    _, executor = build(family)
    clean, corrupted = prompts()
    positions = torch.tensor([LENGTH - 1, 3])
    trace = executor.run(clean, positions)
    ablated = Ablated(executor.run(corrupted, positions).values)
    removed = np.random.default_rng(0).random((5, executor.graph.n_edges)) < 0.4
    late = next(g.start for g in executor.graph.groups if g.layer == 1)
    removed[:, :late] = False
    together = executor.resume(
        trace, 1, 5, positions, RemovedEdges(executor.graph, removed, ablated, 2)
    ).logits.unflatten(0, (5, 2))
    for candidate, logits in zip(removed, together, strict=True):
        alone = executor.run(clean, positions, RemovedEdges(executor.graph, candidate[None], ablated, 2)).logits
        assert (alone - logits).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt-neox-parallel", "gemma3", "native-no-norm"])
def test_removing_everything_gives_the_corrupted_run(family):
    _, executor = build(family)
    clean, corrupted = prompts()
    positions = torch.tensor([LENGTH - 1, 3])
    other = executor.run(corrupted, positions)
    removed = np.ones((1, executor.graph.n_edges), dtype=bool)
    got = executor.run(clean, positions, RemovedEdges(executor.graph, removed, Ablated(other.values), 2)).logits
    assert (got - other.logits).abs().max() < 1e-10


@torch.no_grad()
def test_split_embeddings_add_up():
    """Cutting token and position embedding from a slot together equals cutting the whole input from it."""
    _, whole = build("gpt2")
    split = Executor(whole.components, ComponentGraph(whole.graph.anatomy, split_embeddings=True))
    clean, corrupted = prompts()
    positions = torch.tensor([LENGTH - 1, 3])
    for slot in ("a0.h1<v>", "m1", "a1.h2<k>", "logits"):
        one, two = whole.graph.mask([f"input->{slot}"]), split.graph.mask([f"tok_embed->{slot}", f"pos_embed->{slot}"])
        results = []
        for executor, removed in ((whole, one), (split, two)):
            ablated = Ablated(executor.run(corrupted, positions).values)
            results.append(
                executor.run(clean, positions, RemovedEdges(executor.graph, removed[None], ablated, 2)).logits
            )
        assert (results[0] - results[1]).abs().max() < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("within_heads", [False, True], ids=["edges", "edges-within-heads-too"])
@pytest.mark.parametrize("family", thorough_if_alike())
def test_sparse_runs_equal_dense_ones(family, within_heads):
    """Computing what a subgraph consists of gives what computing everything gives; so do parts of the vocabulary."""
    _, whole = build(family)
    executor = Executor(whole.components, ComponentGraph(whole.graph.anatomy, direct_edges=within_heads))
    graph, (clean, corrupted) = executor.graph, prompts()
    positions = torch.tensor([LENGTH - 1, 3])
    trace, other = executor.run(clean, positions), executor.run(corrupted, positions)
    ablated, embedded = Ablated(other.values, other.projections), trace.blocks[0]
    stream = AblatedStream.of(executor.components, ablated.values, len(embedded))
    prompt = Prompts(embedded, positions, ablated, stream)
    columns, smallest = torch.tensor([[3, 4, 9], [20, 2, 2]]), 1.0
    for seed, share in enumerate((0.01, 0.03, 0.1, 0.3, 0.7)):
        kept = np.random.default_rng(seed).random((3, graph.n_edges)) < share
        dense = executor.resume(trace, 0, 3, positions, RemovedEdges(graph, ~kept, ablated, 2)).logits
        slots = RemovedEdges(graph, ~kept, ablated, 2, stream)
        assert (executor.resume(trace, 0, 3, positions, slots).logits - dense).abs().max() < 1e-10
        required = RequiredPositions.of(graph, kept.any(axis=0))
        sparse = SubgraphRun(executor.components, required, prompt, kept).logits()
        some = SubgraphRun(executor.components, required, prompt, kept).logits(columns)
        assert (dense - sparse).abs().max() < 1e-10
        assert (sparse.gather(-1, columns.repeat(3, 1)) - some).abs().max() < 1e-12
        smallest = min(smallest, (required.needs > 0).mean())
    assert smallest < 0.9, "some run must have left something out"


class Reading(RemovedEdges):
    """Takes down what every slot reads."""

    def __init__(self, *given):
        super().__init__(*given)
        self.seen = []

    def read(self, group, residual, blocks):
        self.seen.append(super().read(group, residual, blocks))
        return self.seen[-1]


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3"])
def test_slots_of_the_empty_circuit_read_exactly_nothing_under_zero_ablation(family):
    """Where there is no bias. A rest of rounding would be made visible by a chain of RMS norms."""
    _, executor = build(family)
    clean, _ = prompts()
    positions = torch.tensor([LENGTH - 1, 3])
    trace = executor.run(clean, positions)
    zero = Ablated(torch.zeros_like(trace.values[:, :1, :1]))
    stream = AblatedStream.of(executor.components, zero.values, len(trace.blocks[0]))
    slots = Reading(executor.graph, np.ones((1, executor.graph.n_edges), dtype=bool), zero, 2, stream)
    executor.run(clean, positions, slots)
    assert len(slots.seen) == len(executor.graph.groups)
    assert all((read == 0).all() for read in slots.seen)
