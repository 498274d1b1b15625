"""How many operations acdc starts, and how often the host waits for a device: counted, so the same on every machine.

    python benchmarks/launches.py [--layers 12] [--heads 12] [--width 768] [--rows 16] [--metric kl] [--threshold T]
                                  [--sites N] [--json]

On a GPU, a short operation takes as long as starting it, and whatever needs a value on the host waits until all that
was started before is done. Both are counted here on a CPU, in a model of GPT-2 small's shape with random weights. An
operation is what PyTorch dispatches, without views and allocations. The host waits for `item`, `tolist`, `nonzero`,
boolean masks as indices, copies to the host, and copies to the device of what is made there: arrays, and lists of
indices. Copies that do not wait (`non_blocking`) are operations alone. Products are PyTorch's own, and as much is taken
at once as on a GPU; but no more candidates are tried together than on a CPU.

A trial measures several candidates of ACDC in one pass; what it reaches is given in layers. Its values are read once,
which is the one time that the host has to wait. The rest is what an accepted batch takes: to record it in the circuit
and to go on to the next receiver. `--sites` lists the lines that start most.
"""

import argparse
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

if __name__ == "__main__":
    os.environ["ACDC_PRODUCTS"] = "default"
    sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

import numpy as np
import torch
from shapes import random_gpt2, random_task
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import acdc
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants, measure_variants
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.subgraph import SubgraphRun
from acdc.execution.threads import fixed_threads
from acdc.graph.units import EdgeUnits
from acdc.progress import nobody, silent
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.pruning import Pruning
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.search.acdc.widths import CACHE_BYTES
from acdc.search.choosing import Ranking
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import eap_ig_inputs
from acdc.search.options import IntegralOptions, RowOptions
from acdc.task.metrics import METRICS, STACKED_BYTES

T = TypeVar("T")
PACKAGE = str(Path(acdc.__file__).parent)
# what reaches the dispatcher and starts nothing: allocations, a view in disguise, a question about types
IDLE = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "_unsafe_view", "promote_types"}
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
REMOVALS = 64  # of a circuit, spread over its edges
READS = {"cpu", "tolist"}  # methods that bring a tensor to the host


class Launches:
    """What was started within its context: `operations` by name, `waits` of the host by kind, and both by line."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.sites: Counter[str] = Counter()
        self._located = False

    @contextmanager
    def counted(self, located: bool = False) -> Iterator["Launches"]:
        """`located`: whether to find the line of each, which takes long."""
        self._located = located
        with ExitStack() as stack:
            for mode in (_Dispatched(self), _Called(self)):
                stack.enter_context(mode)
            stack.enter_context(patch.object(torch, "from_numpy", self._array))
            yield self

    @property
    def now(self) -> np.ndarray:
        """(operations, waits) so far."""
        return np.array([self.operations.total(), self.waits.total()])

    def start(self, name: str) -> None:
        self.operations[name] += 1
        self._locate(name)

    def wait(self, kind: str, times: int = 1) -> None:
        self.waits[kind] += times
        self._locate(f"wait: {kind}")

    def _array(self, array: np.ndarray, make: Callable[[np.ndarray], Tensor] = torch.from_numpy) -> Tensor:
        self.wait("array")
        return make(array)

    def _locate(self, what: str) -> None:
        if self._located:
            ours = [frame for frame in traceback.extract_stack() if frame.filename.startswith(PACKAGE)]
            if ours:
                self.sites[f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {what}"] += 1


class _Dispatched(TorchDispatchMode):
    """Counts what reaches PyTorch's dispatcher."""

    def __init__(self, launches: Launches):
        super().__init__()
        self.launches = launches

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.launches.wait(name)
        elif name in INDEXING and any(one is not None and one.dtype == torch.bool for one in args[1]):
            self.launches.wait("boolean mask")
        if name not in IDLE and not _is_view(func):
            self.launches.start(name)
        return func(*args, **(kwargs or {}))


class _Called(TorchFunctionMode):
    """Counts what never reaches the dispatcher on a CPU: copies between it and a device."""

    def __init__(self, launches: Launches):
        super().__init__()
        self.launches = launches

    def __torch_function__(self, func, types, args=(), kwargs=None):
        named, name = kwargs or {}, getattr(func, "__name__", "")
        if name in READS:
            self.launches.wait(name)
        elif func in (torch.tensor, torch.as_tensor):
            self.launches.wait("array")
        elif name in ("__getitem__", "__setitem__") and _has_list(args[1]):
            self.launches.wait("list of indices")
        elif name == "to" and named.get("non_blocking"):
            self.launches.wait("array", -1)
            self.launches.start("copy")
        return func(*args, **named)


def _is_view(func) -> bool:
    return any(made.alias_info is not None and not made.alias_info.is_write for made in func._schema.returns)


def _has_list(index) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, (list, np.ndarray)) for part in parts)


@dataclass(frozen=True)
class Trial:
    """One pass of ACDC: how many candidates, how many layers it reaches, and what it started."""

    candidates: int
    layers: int
    operations: int
    waits: int


class Watched(Increments):
    """ACDC's tester, with what its passes start."""

    def __init__(self, behaviour: Behaviour, launches: Launches):
        super().__init__(behaviour)
        self.launches = launches
        self.trials: list[Trial] = []

    def measure(self, wanted: Pass, before: np.ndarray | None = None) -> np.ndarray:
        reader = self._slots[0].reader if self._slots else len(self.graph.readers) - 1
        layers = {self.graph.writers[writer].layer for writer in self.states[0].reached(reader)}
        at = self.launches.now
        found = super().measure(wanted, before)
        self.trials.append(Trial(len(wanted.columns), len(layers), *map(int, self.launches.now - at)))
        return found


@dataclass(frozen=True)
class Line:
    """What something takes, once for every one of `times`."""

    what: str
    times: int
    operations: float
    waits: float

    @classmethod
    def of(cls, what: str, times: int, started: np.ndarray) -> "Line":
        return cls(what, times, *(float(x) for x in started / max(1, times)))


def search_lines(behaviour: Behaviour, threshold: float, launches: Launches) -> tuple[list[Line], list[Trial]]:
    """ACDC by trial, by candidate, by layer that a trial reaches, and by accepted batch."""
    graph = behaviour.graph
    tester = Watched(behaviour, launches)
    everything = np.ones(graph.n_edges, dtype=bool)
    run = Pruning(behaviour, tester, [threshold], list(receiver_steps(graph)), everything)
    at = launches.now
    run.finish(nobody)
    every, trials = launches.now - at, tester.trials
    of_trials = np.array([[t.operations, t.waits] for t in trials]).sum(0)
    deep = [t for t in trials if t.layers]
    lines = [
        Line.of("ACDC: trial", len(trials), of_trials),
        Line.of("ACDC: candidate", sum(t.candidates for t in trials), of_trials),
        Line.of("ACDC: layer that a trial reaches", sum(t.layers for t in deep), _started(deep)),
        Line.of("ACDC: the rest, by accepted batch", len(trials), every - of_trials),
    ]
    return lines, trials


def _started(trials: list[Trial]) -> np.ndarray:
    return np.array([[t.operations, t.waits] for t in trials]).sum(0) if trials else np.zeros(2)


def other_lines(behaviour: Behaviour, launches: Launches) -> list[Line]:
    """Attribution, verified removals, and forwards of a subgraph of a tenth of the edges."""
    found = []

    def count(what: str, times: int, work: Callable[[], T]) -> T:
        at = launches.now
        given = work()
        found.append(Line.of(what, times, launches.now - at))
        return given

    batches, steps = len(behaviour.batches), IntegralOptions()
    scores = count("eap: batch of rows", batches, lambda: eap(behaviour, RowOptions(), silent)).values
    count(f"eap-ig-inputs: {steps.steps} steps", batches, lambda: eap_ig_inputs(behaviour, steps, silent))
    kept = Ranking(EdgeUnits(behaviour.graph), scores).by_edges(behaviour.graph.n_edges // 10).edges
    edges = np.flatnonzero(kept)[:: max(1, int(kept.sum()) // REMOVALS)]
    single = Variants(kept, list(edges[:, None]))
    count("verified removal", len(edges), lambda: list(measure_variants(behaviour, single)))
    required = RequiredPositions.of(behaviour.graph, kept)

    @torch.no_grad()
    def forward() -> None:
        for prompts in behaviour.prompts:
            SubgraphRun(behaviour.model.components, required, prompts, kept[None]).logits()

    count("forward of a subgraph", batches, forward)
    return found


def count_all(options: argparse.Namespace) -> tuple[list[Line], list[Trial], Launches]:
    model = random_gpt2(options.layers, options.heads, options.width, options.vocabulary, 0)
    task = random_task(options.vocabulary, options.rows, 16, 1)
    launches = Launches()
    behaviour = Behaviour(model, task, range(options.rows), METRICS[options.metric])
    behaviour.prompts[0]
    with launches.counted(located=bool(options.sites)):
        lines, trials = search_lines(behaviour, options.threshold, launches)
        lines += other_lines(Behaviour(model, task, range(options.rows), METRICS["logit_diff"]), launches)
    return lines, trials, launches


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--metric", default="kl")
    parser.add_argument("--threshold", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sites", type=int, default=0, help="list so many lines that start most")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    CACHE_BYTES["cpu"], STACKED_BYTES["cpu"] = CACHE_BYTES["cuda"], STACKED_BYTES["cuda"]
    with fixed_threads(options.threads):
        lines, trials, launches = count_all(options)
    if options.json:
        print(json.dumps({"lines": [asdict(x) for x in lines], "trials": [asdict(x) for x in trials]}, indent=1))
        return
    print("| what | how often | operations | host waits |\n|---|---|---|---|")
    for line in lines:
        print(f"| {line.what} | {line.times:,} | {line.operations:,.1f} | {line.waits:,.2f} |")
    for site, times in launches.sites.most_common(options.sites):
        print(f"{times:8,}  {site}")


if __name__ == "__main__":
    main()
