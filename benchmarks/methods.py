"""Every method that gives scores against exact patching, and how faithful the circuits are that are chosen from it.

    python benchmarks/methods.py [--shared FOLDER] [--methods eap,eap-ig-inputs] [--metric logit_diff] [--updates 400]

Scores come from the discovery half of each task's rows; circuits of at most 1, 2, 5 and 10 % of the edges (dangling
ones pruned away) are measured on the other half. Spearman: rank correlation of |score| with exact patching's.
Top 50: how many of exact patching's 50 largest |effects| are among a method's 50. |1 - f|: how far the recovered
fraction is from 1 at each size; the last column is their mean (a short form of MIB's CMD). Methods that cannot be
judged by the clean gradient or know no metric rank under their own rules.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.threads import fixed_threads
from acdc.graph.units import EdgeUnits
from acdc.model.load import load_model
from acdc.progress import silent
from acdc.search.choosing import Ranking
from acdc.search.options import SearchOptions
from acdc.search.registry import METHODS, Method
from acdc.task.load import load_task
from acdc.task.metrics import METRICS, recovered_fraction
from acdc.task.split import split_rows

SIZES = (0.01, 0.02, 0.05, 0.1)
BUNDLED = [("trio", name) for name in ("ioi", "greater_than", "induction")]
HEAD = "| task | method | Spearman | top 50 | " + " | ".join(f"{100 * s:g} %" for s in SIZES) + " | mean | seconds |"


def cases(shared: Path | None) -> Iterator[tuple[str, str]]:
    """(model, task) by name or path."""
    yield from BUNDLED
    for name in ("stories_pronoun_gender", "stories_plural_they") if shared else ():
        yield str(shared / "models/stories260k"), str(shared / f"tasks/{name}.jsonl")


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of |values|, ties sharing their mean rank."""
    _, inverse, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def row(task: str, method: str, scores: np.ndarray, truth: np.ndarray, unseen: Behaviour, seconds: float) -> str:
    spearman = np.corrcoef(ranks(scores), ranks(truth))[0, 1]
    best = [set(np.argsort(-np.abs(values), kind="stable")[:50].tolist()) for values in (scores, truth)]
    ranking = Ranking(EdgeUnits(unseen.graph), scores)
    chosen = np.stack([ranking.by_edges(max(1, round(size * unseen.graph.n_edges))).edges for size in SIZES])
    full, empty = float(unseen.full().mean()), float(unseen.empty().mean())
    means = unseen.measure(~chosen)[0].mean(axis=1)
    misses = [abs(1 - recovered_fraction(float(mean), full, empty)) for mean in means]
    cells = [task, method, f"{spearman:.3f}", len(best[0] & best[1])]
    cells += [f"{miss:.3f}" for miss in misses] + [f"{np.mean(misses):.3f}", f"{seconds:.1f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=None)
    parser.add_argument("--methods", default=",".join(m.name for m in METHODS.values() if not m.decides))
    parser.add_argument("--metric", default="logit_diff")
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    methods = options.methods.split(",")
    print(f"{HEAD}\n|{' --- |' * (HEAD.count('|') - 1)}", flush=True)
    for model_name, task_name in cases(options.shared):
        model = load_model(model_name)
        task = load_task(task_name, model)
        split = split_rows(task.rows, seed=0)
        with fixed_threads(options.threads):
            seen, unseen = (
                Behaviour(model, task, rows, METRICS[options.metric]) for rows in (split.discovery, split.verification)
            )
            truth = METHODS["exact"].run(seen, SearchOptions(), silent).values
            for name in methods:
                started = time.perf_counter()
                scores = METHODS[name].run(seen, _options(METHODS[name], options.updates), silent).values
                print(row(task.name, name, scores, truth, unseen, time.perf_counter() - started), flush=True)


def _options(method: Method, updates: int) -> SearchOptions:
    return method.options(updates=updates) if method.learns_masks else method.options()


if __name__ == "__main__":
    main()
