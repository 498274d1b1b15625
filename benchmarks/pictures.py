"""How long pictures take: random circuits in the graph of GPT-2 small, with random scores, in every format.

    python benchmarks/pictures.py [--save DIR]

CPU seconds to lay out and write each format, those of Graphviz for PDF and PNG included, and the size in points. The
least of three runs counts.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

import graphviz
import numpy as np

from acdc.artefacts.circuit import (
    SIGN_CONVENTION,
    BatchRecord,
    Circuit,
    MethodRecord,
    ModelRecord,
    ScoredEdge,
    TaskRecord,
)
from acdc.graph import Anatomy, ComponentGraph
from acdc.render.graphviz import FORMATS, to_picture
from acdc.render.look import Look
from acdc.render.views import draw
from acdc.verification.baselines import of_size

SIZES = (100, 500, 1_000, 2_000, 5_000)
REPEATS = 3
GPT2 = {
    "n_layers": 12,
    "n_heads": 12,
    "n_kv_heads": 12,
    "d_model": 768,
    "d_head": 64,
    "d_vocab": 50_257,
    "d_vocab_out": 50_257,
    "n_ctx": 1024,
    "learned_positions": True,
}


def random_circuit(n: int, seed: int = 0, anatomy: dict = GPT2) -> Circuit:
    """About n random edges, none of them dangling, with scores of long tails."""
    graph, generator = ComponentGraph(Anatomy(**anatomy)), np.random.default_rng(seed)
    kept = of_size(graph, n, generator)
    return Circuit(
        model=ModelRecord(
            name="gpt2", family="gpt2", revision=None, content_hash="-", split_embeddings=False, anatomy=anatomy
        ),
        task=TaskRecord(name="random", content_hash="-", rows_total=0, split="-", discovery=[], verification=[]),
        method=MethodRecord(name="random", objective=None, selection={}),
        metric="logit_diff",
        larger_is_better=True,
        ablation="resample",
        score_kind="effect",
        sign_convention=SIGN_CONVENTION["effect"],
        edges_total=graph.n_edges,
        edges_effective=int(kept.sum()),
        edges=[ScoredEdge(id=name, score=float(generator.standard_t(2))) for name in graph.ids(kept)],
        seed=seed,
        dtype="float32",
        batch=BatchRecord(
            size=1,
            padding=1,
            threads=1,
            candidate_tokens=1,
            candidate_bytes=1,
            trial_width=1,
            trial_bytes=1,
            cache_bytes=1,
        ),
        versions={},
    )


def seconds(circuit: Circuit, format: str, look: Look) -> float:
    taken = []
    for _ in range(REPEATS):
        start = cpu()
        to_picture(circuit, format, look)
        taken.append(cpu() - start)
    return min(taken)


def cpu() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, help="also write the pictures into this folder")
    folder = parser.parse_args().save
    print(f"Graphviz {'.'.join(map(str, graphviz.version()))}\n")
    print("| edges | places | " + " | ".join(FORMATS) + " | points |")
    print("|" + "---|" * (len(FORMATS) + 3))
    for size in SIZES:
        circuit = random_circuit(size)
        for name, look in (("compact", Look()), ("fixed", Look(fixed=True))):
            taken = [f"{seconds(circuit, format, look):.2f}" for format in FORMATS]
            picture = draw(circuit, look)
            extent = f"{picture.width:,.0f} x {picture.height:,.0f}"
            print(
                f"| {len(circuit.links):,} | {name} | {' | '.join(taken)} | {extent} |",
                flush=True,
            )
            for format in FORMATS if folder else ():
                (folder / f"{size}-{name}.{format}").write_bytes(to_picture(circuit, format, look))


if __name__ == "__main__":
    main()
