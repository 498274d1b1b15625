"""Circuits of a real language model by how they are chosen from scores: faithfulness on rows that no search saw.

    python benchmarks/choosing.py MODEL [--task ioi] [--rows 16] [--methods eap,eap-ig-inputs] [--bootstrap 100]

Scores come from the first rows of the task, faithfulness from as many others; the sizes are the largest circuits of at
most so many effective edges. Seconds are those of scoring, bootstrap included.
The rows "certain first" take edges first whose sign is the same in 95 % of the resamples; in brackets, how many.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.threads import fixed_threads
from acdc.graph.units import EdgeUnits
from acdc.model.load import load_model
from acdc.options import Choosing
from acdc.progress import silent
from acdc.search.bootstrap import certain_signs
from acdc.search.choosing import Ranking, helpfulness
from acdc.search.registry import METHODS
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

SIZES = (100, 200, 1_000, 10_000)
CHOICES = (Choosing.top, Choosing.signed, Choosing.paths)
HEAD = f"| method | choose | {' | '.join(f'{size:,}' for size in SIZES)} | seconds |"


def rankings(searched: Behaviour, method: str, resamples: int) -> Iterator[tuple[str, Ranking, float]]:
    """(how it is chosen, the ranking, how many seconds the scores took)."""
    found, options = METHODS[method], METHODS[method].options()
    began = time.perf_counter()
    scores = found.run(searched, options, silent)
    assert isinstance(scores, Scores), f"{method} decides edge by edge and gives no scores"
    seconds = time.perf_counter() - began
    units, helps = EdgeUnits(searched.graph), helpfulness(scores.values, scores.kind, searched.metric.sign)
    for choosing in CHOICES:
        yield choosing.value, Ranking(units, scores.values, choosing, helps), seconds
    if resamples and found.row_means:
        certain = certain_signs(searched, found, options, resamples, silent)
        seconds = time.perf_counter() - began
        for choosing in CHOICES[1:]:
            name = f"{choosing.value}, certain first ({int(certain.sum()):,})"
            yield name, Ranking(units, scores.values, choosing, helps, certain), seconds


def faithfulness(unseen: Behaviour, ranking: Ranking) -> np.ndarray:
    """Of the circuits of all sizes."""
    full, empty = unseen.ends()
    removed = ~np.stack([ranking.by_edges(size).edges for size in SIZES])
    return (unseen.measure(removed)[0].mean(axis=1) - empty) / (full - empty)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--metric", default="logit_diff")
    parser.add_argument("--methods", default="eap,eap-ig-inputs,relp,ensemble")
    parser.add_argument("--bootstrap", type=int, default=0)
    given = parser.parse_args()
    model = load_model(given.model, device="cpu")
    task = load_task(given.task, model)
    print(HEAD)
    print(f"|---|---{'|---' * len(SIZES)}|---|", flush=True)
    with fixed_threads(2):
        searched, unseen = (
            Behaviour(model, task, range(first, first + given.rows), METRICS[given.metric]) for first in (0, given.rows)
        )
        for method in given.methods.split(","):
            for name, ranking, seconds in rankings(searched, method, given.bootstrap):
                cells = " | ".join(f"{value:.2f}" for value in faithfulness(unseen, ranking))
                print(f"| {method} | {name} | {cells} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
