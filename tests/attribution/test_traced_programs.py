"""Compiled programs, whose neurons the compiler wrote one by one: the graph finds those that matter, and no others."""

import importlib.util

import numpy as np
import pytest
from conftest import ROOT, thorough_but

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
    "and-gate": 1.0,
    "and-gate-off": 1.0,
    "majority": 1.0,
    "duplicate": 1.0,
    "brackets": 16 / 17,
    "sort": 52 / 57,
}
OTHERS = {"sort": 1}  # found, and yet no output changes without them
QUICK = ("histogram", "lookup-composition", "brackets")
SCRIPT = ROOT / "benchmarks/traced_programs.py"


@pytest.fixture(scope="module")
def script():
    """`benchmarks/traced_programs.py`."""
    specification = importlib.util.spec_from_file_location("traced_programs", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", thorough_but(QUICK, FOUND))
def test_neurons_that_the_compiler_wrote(name, script, tmp_path):
    found, needed = script.neurons(name, tmp_path)
    assert needed and len(found - needed) == OTHERS.get(name, 0)
    assert script.f1(found, needed) == pytest.approx(FOUND[name])


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
