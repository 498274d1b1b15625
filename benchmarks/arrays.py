"""The 16.7 million edges of a 70B model: seconds and memory of ids, ranking, choosing, saving and loading.

    python benchmarks/arrays.py [--layers 80 --heads 64 --kv-heads 8] [--json]

Scores are random. Memory is what the step adds to the resident memory of this process at its peak. `--json` also writes
them by name, as smaller models have them.
"""

import argparse
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

import numpy as np

from acdc.artefacts.named_scores import named, strongest
from acdc.files import json_text
from acdc.graph import Anatomy, ComponentGraph
from acdc.graph.units import EdgeUnits
from acdc.options import Choosing, Level
from acdc.runs.run_directory import RunDirectory, SourceRecord
from acdc.runs.score_files import read_scores, write_scores
from acdc.search.choosing import Ranking


def resident(line: str) -> int:
    """`VmRSS` now, `VmHWM` at its peak since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) * 1024


def measure(name: str, work: Callable[[], object]) -> None:
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # start a new peak
    started = time.perf_counter()
    work()
    took = time.perf_counter() - started
    print(f"| {name} | {took:.2f} | {(resident('VmHWM') - before) / 2**20:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("layers", 80), ("heads", 64), ("kv-heads", 8)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shape = Anatomy(options.layers, options.heads, options.kv_heads, 8192, 128, 128256, 128256, 8192)
    units = EdgeUnits(ComponentGraph(shape))
    values = np.random.default_rng(0).normal(size=units.count)
    scores, ranked = named(values, units), np.random.default_rng(1).integers(units.count, size=1000)
    print(f"{units.count:,} edges\n\n| step | seconds | MiB |\n|---|---|---|")
    measure("all ids, one after the other", lambda: deque(units.names(), maxlen=0))
    measure("1,000 ids by place and back", lambda: [units.graph.index[units.graph.names[i]] for i in ranked])
    measure("the ten strongest", lambda: strongest(scores, 10))
    for choosing in (Choosing.top, Choosing.signed):
        measure(f"1,000 edges, {choosing}", lambda how=choosing: Ranking(units, values, how, values).by_edges(1000))
    with tempfile.TemporaryDirectory() as folder:
        source = SourceRecord(model="", task="", revision=None)
        run = RunDirectory.open(Path(folder) / "run", "", "score", {}, "", source, "cpu")
        measure("save", lambda: write_scores(run, Level.edges, scores))
        measure("load and check", lambda: read_scores(run.path, units))
        if options.json:
            measure("by name, to JSON", lambda: len(json_text(units.by_name(values))))


if __name__ == "__main__":
    main()
