"""What screened ACDC decides otherwise than exact ACDC: kept edges, tests and FLOPs of both, in one run.

    python benchmarks/screening.py MODEL TASK... [--runs kl:0.1,logit_diff:0.3,...] [--screens 0.3,0.5,0.7] [--rows 16]
                                   [--sender-order descending] [--direct-edges]

Both search the same rows. "both" and "either" count the edges that both and at least one of them kept, "sample" how
many of the screened edges that were tested all the same were kept, with a 95% interval (Wilson) of the
share of wrong removals among screened edges. Faithfulness is on as many other rows, if the task has more, of exact and
of screened ACDC.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np

from acdc.artefacts.scores import Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model, load_model
from acdc.options import SenderOrder
from acdc.progress import silent
from acdc.search.acdc.search import acdc
from acdc.search.options import OrderOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.verification.intervals import wilson

RUNS = "kl:0.1,kl:0.03,logit_diff:0.3,logit_diff:0.1"
COLUMNS = (
    *("task", "metric", "threshold", "screen", "kept, exact", "screened", "both", "either", "tests, exact", "screened"),
    *("TFLOP, exact", "screened", "s, exact", "screened", "sample", "faithfulness, exact", "screened"),
)


@dataclass(frozen=True)
class Search:
    """One search and what it cost."""

    found: Decisions
    kept: np.ndarray
    flops: float
    seconds: float

    @classmethod
    def of(cls, behaviour: Behaviour, options: OrderOptions) -> "Search":
        began, before = time.perf_counter(), behaviour.work.flops
        found = acdc(behaviour, options, silent)
        seconds, flops = time.perf_counter() - began, behaviour.work.flops - before
        return cls(found, behaviour.graph.prune(found.kept), flops, seconds)


def sample_of(found: Decisions) -> str:
    """How many of the sample were kept, of how many, and the interval of their share."""
    assert found.screening is not None
    kept, drawn = found.screening.sampled_kept, found.screening.sampled
    if not drawn:
        return "none drawn"
    interval = wilson(kept, drawn)
    return f"{kept} of {drawn} ({interval.low:.1%} to {interval.high:.1%})"


def faithfulness(unseen: Behaviour, kept: np.ndarray) -> float:
    full, empty = unseen.ends()
    return float((unseen.measure(~kept[None])[0, 0].mean() - empty) / (full - empty))


def compare(model: Model, name: str, run: str, given: argparse.Namespace) -> None:
    task, (metric, threshold), rows = load_task(name, model), run.split(":"), given.rows
    screens = [float(screen) for screen in given.screens.split(",")]

    def on(some: range) -> Behaviour:
        return Behaviour(model, task, some, METRICS[metric], direct_edges=given.direct_edges)

    searched = on(range(rows))
    others_left = range(rows, min(2 * rows, len(task.rows)))
    unseen = on(others_left) if others_left else None
    exact, *others = (
        Search.of(searched, OrderOptions(threshold=float(threshold), screen=screen, sender_order=given.sender_order))
        for screen in (0.0, *screens)
    )
    for screen, other in zip(screens, others, strict=True):
        cells = (
            *(task.name, metric, threshold, f"{screen:g}", f"{exact.kept.sum():,}", f"{other.kept.sum():,}"),
            *(f"{(exact.kept & other.kept).sum():,}", f"{(exact.kept | other.kept).sum():,}"),
            *(f"{len(exact.found.tests):,}", f"{len(other.found.tests):,}"),
            *(f"{exact.flops / 1e12:.3g}", f"{other.flops / 1e12:.3g}"),
            *(f"{exact.seconds:.3g}", f"{other.seconds:.3g}", sample_of(other.found)),
            *(f"{faithfulness(unseen, one.kept):.2f}" if unseen else "" for one in (exact, other)),
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--runs", default=RUNS, help="metric:threshold, separated by commas")
    parser.add_argument("--screens", default="0.3,0.5,0.7")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--sender-order", type=SenderOrder, default=SenderOrder.descending)
    parser.add_argument("--direct-edges", action="store_true", help="edges within heads too, as the original has them")
    given = parser.parse_args()
    model = load_model(given.model, device="cpu")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|", flush=True)
    with fixed_threads(2):
        for task in given.tasks:
            for run in given.runs.split(","):
                compare(model, task, run, given)


if __name__ == "__main__":
    main()
