"""Circuits with random scores, and what a verification of them would say, without a model."""

from collections import defaultdict

import numpy as np

from acdc.artefacts.circuit import SIGN_CONVENTION, Circuit, library_versions
from acdc.artefacts.verification.report import Report
from acdc.graph import Anatomy, ComponentGraph, Edge
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units import units_of
from acdc.options import Level

SMALL = {"n_layers": 4, "n_heads": 4, "n_kv_heads": 4, "d_model": 64, "d_head": 16, "d_vocab": 250, "d_vocab_out": 250}
GPT2 = {"n_layers": 12, "n_heads": 12, "n_kv_heads": 12, "d_model": 768, "d_head": 64, "d_vocab": 50257}
SPANS = ("rest", "A", "B", "C", "end")
BATCH = {"size": 32, "padding": 1.5, "threads": 1, "candidate_tokens": 1, "candidate_bytes": 1, "trial_width": 1}


def random_circuit(edges: int, shape: dict | None = None, level: str = "edges", **graph_options) -> tuple:
    """(a circuit of at most so many edges after pruning, the scores [edges] of all candidates), always the same."""
    anatomy = {"n_ctx": 1024, "d_vocab_out": 50257, "learned_positions": True} | (shape or SMALL)
    graph = ComponentGraph(Anatomy(**anatomy), **graph_options)
    scores = np.random.default_rng(edges).normal(size=graph.n_edges)
    kept, nodes = np.zeros(graph.n_edges, dtype=bool), []
    if level == "edges" and edges == 1:
        kept[graph.index["input->logits"]] = True
    elif level == "edges" and edges:
        order = np.argsort(-np.abs(scores))
        low, high = 0, graph.n_edges
        while low < high:
            middle = (low + high + 1) // 2
            kept = np.isin(np.arange(graph.n_edges), order[:middle])
            low, high = (middle, high) if graph.prune(kept).sum() <= edges else (low, middle - 1)
        kept = graph.prune(np.isin(np.arange(graph.n_edges), order[:low]))
    elif level != "edges":
        chosen = graph.writers[len(graph.embeddings) :][:: max(1, len(graph.writers) // max(1, edges))]
        nodes = [{"id": writer.id, "score": float(place + 1)} for place, writer in enumerate(chosen)]
        names = {node["id"] for node in nodes} | {writer.id for writer in graph.embeddings}
        kept = graph.between(np.array([writer.id in names for writer in graph.writers]))
        of = {node["id"]: node["score"] for node in nodes}
        scores = np.array([of.get(name.split("->")[0], 0.0) for name in graph.names])
    coordinates = []
    if level == "coordinates":
        coordinates = [{"id": f"{node['id']}.n0", "score": node["score"]} for node in nodes]
    circuit = Circuit.model_validate(
        {
            "model": {"name": "random", "family": "gpt2", "revision": None, "content_hash": "0" * 64}
            | {"split_embeddings": False, "direct_edges": False, "anatomy": anatomy}
            | graph_options,
            "task": {"name": "none", "content_hash": "1" * 64, "rows_total": 8, "split": "the first 4"}
            | {"discovery": ["0", "1", "2", "3"], "verification": ["4", "5", "6", "7"]},
            "method": {"name": "random", "objective": None, "selection": {"edges": edges}},
            "metric": "logit_diff",
            "larger_is_better": True,
            "ablation": "resample",
            "level": level,
            "score_kind": "effect",
            "sign_convention": SIGN_CONVENTION["effect"],
            "edges_total": graph.n_edges,
            "edges_effective": int(graph.prune(kept).sum()),
            "edges": [{"id": graph.names[place], "score": float(scores[place])} for place in np.flatnonzero(kept)],
            "nodes": nodes,
            "coordinates": coordinates,
            "seed": 0,
            "dtype": "float32",
            "batch": BATCH | {"trial_bytes": 1, "cache_bytes": 1},
            "versions": library_versions(),
        }
    )
    circuit.check()
    return circuit, scores


def quick_report(circuit: Circuit) -> Report:
    """What a discovery measures: each part's removal changes the metric by its score."""
    measure = {"full": 3.0, "circuit": 2.5, "complement": -1.0, "empty": -2.0, "corrupted": -2.0, "faithfulness": 0.9}
    return Report.model_validate(
        {
            "rows": 8,
            "metric": circuit.metric,
            "ablation": circuit.ablation,
            "edges": len(circuit.edges),
            "edges_total": circuit.edges_total,
            "measures": {circuit.metric: measure},
            "random": {"edges": [3, 4], "faithfulness": [0.05, -0.01]},
            "removals": [
                {"id": part.id, "change": part.score, "rows_worse": 0.75, "hurts": part.score < 0}
                for part in circuit.parts
            ],
        }
    )


def unverified(circuit: Circuit) -> Report:
    """That of a discovery that left no rows."""
    common = {"metric": circuit.metric, "ablation": circuit.ablation, "edges": len(circuit.edges)}
    return Report(rows=0, reason="discovery used all 4 rows", edges_total=circuit.edges_total, **common)


def positional_circuit(count: int, shape: dict | None = None, names: tuple[str, ...] = SPANS, named: bool = True):
    """A circuit of about so many edges at spans, always the same, with none at `C`; the last span has the answer."""
    base, _ = random_circuit(0, shape)
    length = len(names)
    sources = tuple(tuple(range(place + 1)) for place in range(length))
    units = units_of(base.graph, Level.positions, TaskSpans(names, sources, (length - 1,), named))
    ids, draw = list(units.names()), np.random.default_rng(count)
    scores = draw.normal(size=len(ids))
    listed = units.list_kept(units.pruned(units.mask(_paths(base.graph, ids, count, names[-1], draw))), scores)
    record = {"names": names, "sources": sources, "answers": [length - 1], "named": named}
    changed = {
        "level": "positions",
        "spans": record | {"content_hash": "2" * 64 if named else None},
        **{level.value: [{"id": id, "score": score} for id, score in own.items()] for level, own in listed.items()},
        "edges_effective": int(base.graph.prune(base.graph.mask(listed[Level.edges])).sum()),
    }
    circuit = Circuit.model_validate(base.model_dump(mode="json") | changed)
    circuit.check()
    return circuit


def _paths(graph: ComponentGraph, ids: list[str], count: int, answer: str, draw: np.random.Generator) -> set[str]:
    """Edges on random ways back from the logits, of which each leads to the input in the end."""
    incoming = defaultdict(list)
    for id in ids:
        left, right = id.split("->")
        (writer, _), (slot, span) = left.split("@"), right.split("@")
        owners = graph.owners(Edge.parse(f"{writer}->{slot}").reader)
        for owner in [owner.id for owner in owners] or ["logits"] if "@C" not in id else []:
            incoming[f"{owner}@{span}"].append(id)
    kept, open_ = set(), [f"logits@{answer}"] if count else []
    for at in open_:  # which grows
        from_input = [id for id in incoming[at] if id.startswith("input@")]
        some = incoming[at] if len(kept) < count and len(incoming[at]) > 4 else from_input
        chosen = draw.choice(some, size=min(len(some), 4), replace=False).tolist() if count > 1 else from_input[:1]
        kept |= set(chosen)
        open_ += [at for at in sorted({id.split("->")[0] for id in chosen} - set(open_)) if not at.startswith("input")]
    return kept
