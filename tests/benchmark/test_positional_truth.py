"""Which position reads which in compiled programs: by hand, from the program, and by ablating all edges."""

import json

import numpy as np
import pytest

from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.compiled import LONGEST_AT_POSITIONS, CompiledCase, find_program
from acdc.benchmark.evaluate import METRICS
from acdc.benchmark.programs.positions import edges_at
from acdc.benchmark.truth import CHANGE, CHANGED
from acdc.graph.masks import PositionalMask
from acdc.options import Level

# of prompts of six tokens, the first of which means nothing; all else is the same in both prompts or does not matter
BY_HAND = {
    "previous-token": {"tok_embed@4->a0.h0<v>@5", "a0.h0@5->logits@5"},
    "two-back": {"tok_embed@3->a0.h0<v>@4", "a0.h0@4->a1.h0<v>@5", "a1.h0@5->logits@5"},
    "lookup-composition": {"tok_embed@3->m0@3", "m0@3->m1@3", "m1@3->m2@3", "m2@3->logits@3"},
    "and-gate": {
        "tok_embed@1->a0.h0<v>@5", "tok_embed@2->a0.h1<v>@5", "a0.h0@5->m0@5", "a0.h1@5->m0@5", "m0@5->logits@5",
    },
}  # fmt: skip


def prepare(tmp_path, name, **case):
    return CompiledCase("test", name, **case).at_positions.prepare(tmp_path, "cpu", None)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_truth_is_what_the_program_says(tmp_path, name):
    prepared = prepare(tmp_path, name)
    truth = prepared.truths["resample"]
    assert truth.edges == BY_HAND[name] and truth.complete and not truth.redundant
    (length,) = {len(row.clean) for row in prepared.task.rows}
    assert length <= LONGEST_AT_POSITIONS and prepared.accuracy == 1.0


@pytest.mark.parametrize("name", ["induction", "fraction", "or-gate", "random-1"])
def test_it_is_along_what_the_program_reads_and_nothing_else_matters(tmp_path, name):
    """The program's own semantics tell which keys are compared and which values are copied, prompt by prompt."""
    prepared = prepare(tmp_path, name)
    truth, program = prepared.truths["resample"], find_program(name).program
    behaviour = Behaviour(prepared.model, prepared.task, range(len(prepared.task.rows)), CHANGED, split_embeddings=True)
    along = set().union(*(edges_at(program, behaviour.graph, row.clean) for row in prepared.task.rows))
    assert truth.edges and truth.edges <= along
    graph = behaviour.units(Level.positions).positional
    outside = PositionalMask(~graph.mask(truth.edges)[None], graph)
    assert truth.complete and behaviour.measure(outside)[0].max() <= CHANGE
    assert {graph.graph.names[place] for place in graph.plain[graph.mask(truth.edges)]} <= program.edges(graph.graph)


def test_induction_reads_a_key_for_each_prompt(tmp_path):
    """Where the last token stood before decides what its head reads: several positions over rows, one in each."""
    prepared, program = prepare(tmp_path, "induction"), find_program("induction").program
    graph = prepared.model.executor(split_embeddings=True).graph
    read = set()
    for row in prepared.task.rows:
        before = [at for at in range(1, len(row.clean) - 1) if row.clean[at] == row.clean[-1]]
        values = {edge for edge in edges_at(program, graph, row.clean) if "<v>@5" in edge and "->a1" in edge}
        if before:
            assert values == {f"tok_embed@{at + 1}->a1.h0<v>@5" for at in before}
        read |= values
    assert len(read) > 2


def test_the_command_scores_methods_at_positions(acdc, tmp_path):
    words = "--level", "positions", "--cases", "and-gate|two-back", "--methods", "acdc,peap,random"
    found = acdc("benchmark", *words, "--json")
    rows = {(row["case"], row["ablation"], row["method"]): row for row in found.json["rows"]}
    assert found.code == 0 and len(rows) == 2 * 3 * 3 and {row["status"] for row in rows.values()} == {"done"}
    for case in ("and-gate", "two-back"):
        own = rows[case, "resample", "acdc"]
        assert own["edge_f1"] == own["node_f1"] == 1.0 and own["edges_true"] == len(BY_HAND[case])
        assert set(own["found"]) == BY_HAND[case] and own["variant"] == "at positions"
        assert rows[case, "resample", "random"]["edge_f1"] < 0.5 and own["metric"] == METRICS[0]
    folder = tmp_path / "runs/benchmark-compiled-positions"
    assert "## compiled at positions, resample ablation" in (folder / "benchmark.md").read_text()
    assert "edges at any position" in (folder / "compiled-two-back/resample-acdc.svg").read_text()
    assert json.loads((folder / "compiled-two-back/truths.json").read_text())["truths"]["resample"]["edges"] == sorted(
        BY_HAND["two-back"]
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "published"], "suite 'published' does not know which position reads which"),
        (["--level", "nodes"], "--level nodes: known circuits are of edges or positions"),
        (["--methods", "hisp"], "--level positions works only with"),
    ],
)
def test_what_has_no_positional_truth_is_refused(acdc, words, said):
    refused = acdc("benchmark", "--level", "positions", *words)
    assert refused.code == 2 and said in refused.err and refused.err.count("\n") == 1


def test_values_that_are_not_selected_do_not_matter_alone(tmp_path):
    """A check of the semantics itself: all values but those selected, exchanged one by one, change no output."""
    prepared, program = prepare(tmp_path, "two-back"), find_program("two-back").program
    behaviour = Behaviour(prepared.model, prepared.task, range(len(prepared.task.rows)), CHANGED, split_embeddings=True)
    units = behaviour.units(Level.positions)
    along = edges_at(program, behaviour.graph, prepared.task.rows[0].clean)
    names = list(units.names())
    others = np.array([place for place, name in enumerate(names) if "<v>" in name and name not in along])
    assert len(others) > 100 and behaviour.measure(units.alone(others))[0].max() <= CHANGE
