"""What one ablated subgraph costs, against a plain forward of the TransformerBridge. Ratios from one run.

    python benchmarks/subgraphs.py [--model M --task T | --shape gpt2] [--rows N] [--threads N]

First circuits of growing size, each by itself: the edges with the largest EAP scores, pruned. Ablated values are
cached, as in every search. Then subgraphs that lack single edges, or half of all edges, in passes of many candidates. A
naive patching loop costs one bridge forward, with hooks, per subgraph, so the ratio is what acdc gains on it.
`--shape gpt2` takes random weights of GPT-2 small's shape and 16 random tokens a row.
"""

import argparse
import sys
import time

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

import numpy as np
import torch
from shapes import random_gpt2, random_task

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.subgraph import SubgraphRun
from acdc.execution.threads import fixed_threads
from acdc.graph.units import EdgeUnits
from acdc.model.load import load_model
from acdc.progress import silent
from acdc.search.choosing import Ranking
from acdc.search.methods.eap import eap
from acdc.search.options import RowOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

REPEATS, SHARES, VOCABULARY = 5, (0.01, 0.05, 0.2, 1.0), 50257


def seconds(work) -> float:
    """Best of several runs: on a shared machine the least disturbed one is the most repeatable."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def run_circuit(behaviour: Behaviour, kept: np.ndarray) -> None:
    """One circuit over all rows, from the first layer on whatever its size."""
    required = RequiredPositions.of(behaviour.graph, kept)
    for prompts in behaviour.prompts:
        SubgraphRun(behaviour.model.components, required, prompts, kept[None]).logits()


@torch.no_grad()
def circuits(behaviour: Behaviour, scores: np.ndarray, base: float) -> None:
    behaviour.prompts  # noqa: B018 - ablated values, computed once
    ranking, components = Ranking(EdgeUnits(behaviour.graph), scores), behaviour.model.components
    print(f"{'circuit':>8} {'edges':>8} {'components':>11} {'everywhere':>11} {'GFLOP':>8} {'ms':>9} {'forwards':>9}")
    for share in SHARES:
        edges = ranking.by_edges(round(share * behaviour.graph.n_edges)).edges
        needs = RequiredPositions.of(behaviour.graph, edges).needs[len(behaviour.graph.embeddings) :]
        before = components.work.snapshot()
        run_circuit(behaviour, edges)
        work = components.work - before
        spent = seconds(lambda edges=edges: run_circuit(behaviour, edges))
        print(
            f"{share:8.0%} {edges.sum():8,} {(needs > 0).sum():11} {(needs > 1).sum():11} {work.flops / 1e9:8.1f} "
            f"{1000 * spent:9.1f} {spent / base:9.2f}"
        )


@torch.no_grad()
def passes(behaviour: Behaviour, base: float) -> None:
    n_edges, generator = behaviour.graph.n_edges, np.random.default_rng(0)
    single = np.zeros((64, n_edges), dtype=bool)
    single[np.arange(64), generator.choice(n_edges, 64, replace=False)] = True
    half = generator.random((16, n_edges)) < 0.5
    for name, removed in (("half the edges, 16 in a call", half), ("single edges, 64 in a call", single)):
        spent = seconds(lambda removed=removed: behaviour.measure(removed)) / len(removed)
        print(f"without {name:30} {1000 * spent:9.2f} ms   {spent / base:6.2f} forwards")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="trio")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--shape", choices=["gpt2"])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.shape:
        model, task = random_gpt2(12, 12, 768, VOCABULARY, 0), random_task(VOCABULARY, options.rows, 16, 1)
    else:
        model = load_model(options.model)
        task = load_task(options.task, model)
    with fixed_threads(options.threads):
        behaviour = Behaviour(model, task, range(min(options.rows, len(task.rows))), METRICS["logit_diff"])
        scores = eap(behaviour, RowOptions(), silent).values
        with torch.no_grad():
            base = seconds(lambda: [model.bridge(batch.tokens) for batch in behaviour.batches])
        print(f"{model.name}, {task.name}, {len(behaviour.rows)} rows in {len(behaviour.batches)} batches, ", end="")
        print(f"{options.threads} threads; plain forward of the bridge {1000 * base:.1f} ms\n")
        circuits(behaviour, scores, base)
        print()
        passes(behaviour, base)


if __name__ == "__main__":
    main()
