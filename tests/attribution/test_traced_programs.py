"""Compiled programs, whose neurons the compiler wrote one by one: the graph finds those that matter, and no others."""

import numpy as np
import pytest
from conftest import thorough_but

from acdc.attribution.interventions import Freeze, Setting, set_units
from acdc.attribution.logits import LogitChoice
from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.benchmark.compiled import draw_rows
from acdc.benchmark.programs.compiler import compile_program
from acdc.benchmark.programs.library import LIBRARY
from acdc.model.load import load_model

# F1 of neurons found on some prompts against those that change an output when set to zero. What is missed passes
# through units that are not active: a pair of a step's units cancels, and without one of them a lookup's unit wakes up.
FOUND = {
    "histogram": 1.0,
    "fraction": 1.0,
    "modular-addition": 1.0,
    "lookup-composition": 1.0,
    "or-gate": 1.0,
    "majority": 1.0,
    "duplicate": 1.0,
    "brackets": 16 / 17,
    "sort": 52 / 57,
}
QUICK = ("histogram", "lookup-composition", "brackets")
PROMPTS = 12


def neurons(name, folder):
    """(found, needed) neurons as (layer, unit), over some prompts, all outputs traced."""
    compile_program(LIBRARY[name].program).save(folder)
    model = load_model(str(folder), dtype="float64")
    settings = TraceSettings(LogitChoice(tuple(range(model.anatomy.d_vocab_out))), None, constant_first=False)
    found, needed = set(), set()
    for row in draw_rows(LIBRARY[name], 0)[:PROMPTS]:
        traced = trace_prompt(model, row["clean"], settings)
        graph, run = traced.graph, traced.run
        found |= {(n.layer, n.index) for n in graph.units if graph.influence[graph.index[n.id]] > 1e-9}
        zero = [[Setting.of(node, 0.0)] for node in graph.units]
        change = set_units(run, traced.sources.dictionary, zero, Freeze.nothing) - run.raw
        change = (change - change.mean(-1, keepdim=True)).abs().amax(-1)
        needed |= {(n.layer, n.index) for n, by in zip(graph.units, change.tolist(), strict=True) if by > 1e-6}
    return found, needed


@pytest.mark.parametrize("name", thorough_but(QUICK, FOUND))
def test_neurons_that_the_compiler_wrote(name, tmp_path):
    found, needed = neurons(name, tmp_path)
    f1 = 2 * len(found & needed) / (len(found) + len(needed))
    assert needed
    assert f1 == pytest.approx(FOUND[name])


def test_rows_of_programs_sum_to_their_targets(tmp_path):
    compile_program(LIBRARY["brackets"].program).save(tmp_path)
    model = load_model(str(tmp_path), dtype="float64")
    graph = trace_prompt(model, draw_rows(LIBRARY["brackets"], 0)[0]["clean"], TraceSettings(most_nodes=None)).graph
    assert np.allclose(graph.row_sums(), [node.value for node in graph.targets], rtol=1e-9, atol=1e-9)


def test_neurons_of_reverse_act_through_attention_alone(tmp_path):
    """So the graph, which holds attention, has none of them: they decide where heads attend and nothing else."""
    compile_program(LIBRARY["reverse"].program).save(tmp_path)
    model = load_model(str(tmp_path), dtype="float64")
    settings = TraceSettings(LogitChoice(tuple(range(model.anatomy.d_vocab_out))), None, constant_first=False)
    traced = trace_prompt(model, draw_rows(LIBRARY["reverse"], 0)[0]["clean"], settings)
    zero = [[Setting.of(node, 0.0)] for node in traced.graph.units]
    change = {
        freeze: (set_units(traced.run, traced.sources.dictionary, zero, freeze) - traced.run.raw).abs().max().item()
        for freeze in Freeze
    }
    assert change[Freeze.everything] < 1e-9 and change[Freeze.attention] < 1e-9 < 0.1 < change[Freeze.nothing]
    assert not any(traced.graph.influence[traced.graph.index[node.id]] > 1e-9 for node in traced.graph.units)
