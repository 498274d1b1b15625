"""What one ablated subgraph costs, against a plain forward of the TransformerBridge. Ratios from one run.

    python benchmarks/subgraphs.py [--model M] [--task T] [--rows N] [--threads N]

Rows: the bridge's own forward; a subgraph by itself from the first layer; each edge ablated alone, and half of all
edges removed at random, in passes of many candidates. A naive patching loop costs one bridge forward, with hooks, per
subgraph, so the ratio is what acdc gains on it.
"""

import argparse
import time

import numpy as np
import torch

from acdc.model.executor import RemovedEdges
from acdc.model.load import load_model
from acdc.model.threads import fixed_threads
from acdc.task.behaviour import Behaviour
from acdc.task.load import load_task
from acdc.task.metrics import find_metric

REPEATS = 5


def seconds(work) -> float:
    """Best of several runs: on a shared machine the least disturbed one is the most repeatable."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


@torch.no_grad()
def measure(behaviour: Behaviour) -> dict[str, float]:
    """Seconds per subgraph over all rows."""
    n_edges, generator = behaviour.graph.n_edges, np.random.default_rng(0)
    single = np.zeros((64, n_edges), dtype=bool)
    single[np.arange(64), generator.choice(n_edges, 64, replace=False)] = True
    half = generator.random((16, n_edges)) < 0.5
    ablated = [behaviour.ablated(batch) for batch in behaviour.batches]

    def from_the_start():
        for batch, values in zip(behaviour.batches, ablated, strict=True):
            behaviour.run(batch, RemovedEdges(behaviour.graph, half[:1], values, len(batch.index)))

    return {
        "bridge, plain forward": seconds(lambda: [behaviour.model.bridge(b.tokens) for b in behaviour.batches]),
        "one subgraph of half the edges, by itself": seconds(from_the_start),
        "subgraphs of half the edges, 16 in a call": seconds(lambda: behaviour.measure(half)) / 16,
        "single edges, 64 in a call": seconds(lambda: behaviour.measure(single)) / 64,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="trio")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    model = load_model(options.model)
    task = load_task(options.task, model)
    with fixed_threads(options.threads):
        rows = range(min(options.rows, len(task.rows)))
        behaviour = Behaviour(model, task, rows, find_metric(task.metric))
        results = measure(behaviour)
    base = results["bridge, plain forward"]
    print(f"{model.name}, {task.name}, {len(rows)} rows in {len(behaviour.batches)} batches, {options.threads} threads")
    for name, value in results.items():
        print(f"{name:45} {1000 * value:9.2f} ms   {base / value:6.2f} bridge forwards' speed")


if __name__ == "__main__":
    main()
