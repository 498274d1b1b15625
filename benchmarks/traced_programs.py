"""Which neurons of compiled programs an attribution graph finds, beside those that change an output when set to zero.

    python benchmarks/traced_programs.py [PROGRAM...]

A graph of all outputs of each of 12 prompts. A neuron is found where it has influence in one of the graphs, and needed
where an output of one of the prompts changes when it is set to zero. Programs without MLPs have no neurons.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

from acdc.attribution.interventions import Freeze, Setting, set_units
from acdc.attribution.logits import LogitChoice
from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.benchmark.compiled import draw_rows
from acdc.benchmark.programs.compiler import compile_program
from acdc.benchmark.programs.library import LIBRARY
from acdc.model.load import load_model

PROMPTS = 12
INFLUENCE, CHANGE = 1e-9, 1e-6  # above which a neuron is found, and needed

Neuron = tuple[int, int]  # layer, unit


def neurons(name: str, folder: Path) -> tuple[set[Neuron], set[Neuron]]:
    """(found, needed) neurons over some prompts."""
    compile_program(LIBRARY[name].program).save(folder)
    model = load_model(str(folder), dtype="float64")
    settings = TraceSettings(LogitChoice(tuple(range(model.anatomy.d_vocab_out))), None, constant_first=False)
    found, needed = set(), set()
    for row in draw_rows(LIBRARY[name], 0)[:PROMPTS]:
        traced = trace_prompt(model, row["clean"], settings)
        graph, run = traced.graph, traced.run
        found |= {(n.layer, n.index) for n in graph.units if graph.influence[graph.index[n.id]] > INFLUENCE}
        zero = [[Setting.of(node, 0.0)] for node in graph.units]
        if not zero:
            continue
        change = set_units(run, traced.sources.dictionary, zero, Freeze.nothing) - run.raw
        change = (change - change.mean(-1, keepdim=True)).abs().amax(-1)
        needed |= {(n.layer, n.index) for n, by in zip(graph.units, change.tolist(), strict=True) if by > CHANGE}
    return found, needed


def f1(found: set[Neuron], needed: set[Neuron]) -> float:
    """1 where both are the same."""
    return 2 * len(found & needed) / (len(found) + len(needed)) if found or needed else 1.0


def main() -> None:
    print("| program | needed | found | both | F1 |\n|---|---|---|---|---|")
    for name in sys.argv[1:] or LIBRARY:
        with tempfile.TemporaryDirectory() as folder:
            found, needed = neurons(name, Path(folder))
        if found or needed:
            both = len(found & needed)
            print(f"| {name} | {len(needed)} | {len(found)} | {both} | {f1(found, needed):.3f} |", flush=True)


if __name__ == "__main__":
    main()
