"""What exact ACDC costs: component evaluations, FLOPs, seconds and memory, against naive patching. All from one run.

    python benchmarks/acdc.py [--cases stories,middle,gpt2] [--sizes 100,1000] [--metrics kl,logit_diff] [--threads 2]

Naive ACDC runs the whole model for every test. Its counts are exact (tests x components x rows), for the tests that
ACDC makes (edges into components that nothing reads go without one) and for a loop over all edges, which makes every
test; its seconds are those of a sample of whole runs, multiplied up. The floor is the time that the FLOPs of the tests
(without those of candidates that had to be tried again) would take at the rate of a large matrix product on this
machine. Extra memory is the peak above that of the loaded model. Thresholds were chosen beforehand for the sizes that
they keep.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else this file, found first, would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np
import torch
from shapes import random_gpt2, random_task

from acdc.artefacts.scores import Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.products import product
from acdc.execution.threads import fixed_threads
from acdc.execution.work import Work
from acdc.model.load import Model, load_model
from acdc.progress import Advance
from acdc.search.acdc.search import acdc
from acdc.search.acdc.tester import WholeRuns
from acdc.search.options import OrderOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.task.rows import Task

MODEL_SEED, TASK_SEED, SAMPLE = 0, 1, 24
# (case, metric) -> {about so many edges kept: threshold}
THRESHOLDS = {
    ("stories", "kl"): {100: 0.015},
    ("stories", "logit_diff"): {100: 0.1},
    ("middle", "kl"): {100: 1e-3},
    ("middle", "logit_diff"): {100: 5e-3},
    ("gpt2", "kl"): {100: 5e-4, 1000: 2.4e-5},
    ("gpt2", "logit_diff"): {100: 6e-3, 1000: 7e-4},
}


@dataclass(frozen=True)
class Result:
    """One run of fast ACDC and a sample of naive tests beside it."""

    found: Decisions
    edges: int
    fast: Work
    seconds: float
    memory: int
    naive_test: Work
    naive_seconds: float

    def row(self, name: str, metric: str, rate: float) -> str:
        tests, kept = len(self.found.tests), int(self.found.kept.sum())
        naive, loop = self.naive_test.evaluations * tests, self.naive_test.evaluations * self.edges
        ours = self.naive_test.flops * tests
        floor = self.fast.flops * tests / self.found.tried / rate
        cells = (
            name,
            metric,
            f"{self.found.threshold:g}",
            f"{kept:,}",
            f"{tests:,}",
            f"{self.fast.evaluations:,}",
            f"{naive / self.fast.evaluations:,.0f} ({loop / self.fast.evaluations:,.0f})",
            f"{self.fast.flops / 1e12:,.3f}",
            f"{ours / self.fast.flops:,.0f} ({ours / tests * self.edges / self.fast.flops:,.0f})",
            f"{self.seconds:,.1f}",
            f"{self.naive_seconds * tests:,.0f}",
            f"{floor:,.1f}",
            f"{self.seconds / floor:.2f}",
            f"{self.memory / 2**30:.2f}",
            f"{self.found.drift:.1g}",
        )
        return "| " + " | ".join(cells) + " |"


HEAD = (
    "model | metric | threshold | kept | tests | component evaluations | fewer than naive (loop over all edges) | "
    "TFLOP | fewer than naive (loop) | seconds | naive, extrapolated | floor | ratio | extra GiB | drift"
)


def make_case(name: str, shared: Path | None) -> tuple[Model, Task, int]:
    """(model, task, rows) of a case."""
    if name == "stories":
        if shared is None:
            sys.exit("case stories needs --shared, the folder with models/stories260k and tasks")
        model = load_model(str(shared / "models/stories260k"))
        return model, load_task(str(shared / "tasks/stories_pronoun_gender.jsonl"), model), 16
    layers, heads, width, vocabulary = {"middle": (6, 8, 256, 8192), "gpt2": (12, 12, 768, 50257)}[name]
    return random_gpt2(layers, heads, width, vocabulary, MODEL_SEED), random_task(vocabulary, 16, 16, TASK_SEED), 16


def matmul_rate() -> float:
    """FLOPs per second of a large float32 product as the package makes it, the best of five."""
    a, b = torch.randn(2048, 768), torch.randn(768, 3072)
    product(a, b)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        product(a, b)
        times.append(time.perf_counter() - started)
    return 2 * a.shape[0] * b.numel() / min(times)


@contextmanager
def lines(what: str, total: float, unit: str) -> Iterator[Advance]:
    """A line on stderr every half minute."""
    done, last = 0.0, time.monotonic()

    def advance(count: float, note: str = "") -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > 30:
            last = time.monotonic()
            print(f"  {done:,.0f} of {total:,.0f} {unit}, {note}", file=sys.stderr, flush=True)

    yield advance


def memory(line: str) -> int:
    """Resident memory of this process in bytes: `VmRSS` now, `VmHWM` at its peak since the last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) * 1024


def measure(model: Model, task: Task, rows: int, metric: str, threshold: float) -> Result:
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # start a new peak
    behaviour = Behaviour(model, task, range(rows), METRICS[metric])
    started = time.perf_counter()
    found = acdc(behaviour, OrderOptions(threshold=threshold, screen=0), lines)
    seconds, fast = time.perf_counter() - started, behaviour.work
    extra = memory("VmHWM") - before
    naive_test, naive_seconds = sample_naive(behaviour)
    return Result(found, behaviour.graph.n_edges, fast, seconds, extra, naive_test, naive_seconds)


def sample_naive(behaviour: Behaviour) -> tuple[Work, float]:
    """(work, seconds) of one naive test: the mean of whole runs with half the edges removed."""
    removed = np.random.default_rng(0).random((SAMPLE, behaviour.graph.n_edges)) < 0.5
    trials = WholeRuns(behaviour)
    before, started = behaviour.work, time.perf_counter()
    for one in removed:
        trials.removed = one
        trials.objective()
    seconds = (time.perf_counter() - started) / SAMPLE
    spent = behaviour.work - before
    return Work(spent.evaluations // SAMPLE, spent.flops // SAMPLE), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="middle,gpt2")
    parser.add_argument("--sizes", default="100,1000")
    parser.add_argument("--metrics", default="kl,logit_diff")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shared", type=Path, default=None)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with fixed_threads(options.threads):
        rate = matmul_rate()
        print(f"{options.threads} threads, {rate / 1e9:.0f} GFLOP/s in a large product; ", end="")
        print(f"model seed {MODEL_SEED}, task seed {TASK_SEED}, 16 rows\n")
        print(f"| {HEAD} |\n|{' --- |' * (HEAD.count('|') + 1)}", flush=True)
        for case in options.cases.split(","):
            model, task, rows = make_case(case, options.shared)
            for metric in options.metrics.split(","):
                for size, threshold in THRESHOLDS[case, metric].items():
                    if size in sizes:
                        result = measure(model, task, rows, metric, threshold)
                        print(result.row(case, metric, rate), flush=True)


if __name__ == "__main__":
    main()
