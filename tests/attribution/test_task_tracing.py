"""Tracing the rows of a task: the sum over rows of what an attribution graph of each says, as a verified circuit."""

import families
import numpy as np
import pytest
from noise import noise

from acdc.attribution.logits import LogitChoice
from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.options import Level
from acdc.progress import silent
from acdc.runs.task_tracing import TaskTrace
from acdc.search.discover import bind
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Row, Task


def single_answers() -> Task:
    """Rows of one right and one wrong answer, at their last positions, as a traced prompt has them."""
    rows = noise(4, lengths=(5, 6)).rows
    return Task(
        "noise",
        tuple(Row(row.id, row.clean, row.corrupted, (3,), (11,), len(row.clean) - 1) for row in rows),
        "logit_diff",
    )


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3", "gpt-neox-parallel"])
def test_scores_are_relevance_in_the_graphs_of_the_rows(family):
    """What zero ablation would take away by first order, with attention, norms and ratios held: less the relevance
    along all paths, summed up over positions."""
    model, task = families.boot(family, layers=2, seed=0), single_answers()
    settings = TaskTrace().settings
    behaviour = bind(model, task, settings, range(len(task.rows)))
    found = settings.method.run(behaviour, settings.search_options, silent)
    units, expected = behaviour.units(settings.level), {}
    for row in task.rows:
        wanted = TraceSettings(LogitChoice((3, 11), difference=True), most_nodes=None, constant_first=False)
        graph = trace_prompt(model, row.clean, wanted).graph
        for node, value in zip(graph.nodes, graph.relevance(0), strict=True):
            if node.is_unit:
                name = node.id.split("@")[0]
                expected[name] = expected.get(name, 0.0) - value / len(task.rows)
    ours = units.by_name(found.values)
    names = [name for name in ours if name.startswith("m")]
    assert max(abs(expected[name]) for name in names) > 0.01
    assert [ours[name] for name in names] == pytest.approx([expected[name] for name in names], abs=1e-9)


def test_queries_and_keys_have_no_part_where_attention_is_held():
    model, task = families.boot("llama", layers=2, seed=0), noise(3)

    def scores(hold: bool) -> dict[str, float]:
        options = {"hold_attention": hold}
        settings = DiscoverySettings(method=METHODS["relp"], metric="logit_diff", level=Level.edges, options=options)
        behaviour = bind(model, task, settings, range(3))
        found = METHODS["relp"].run(behaviour, settings.search_options, silent)
        return behaviour.units(Level.edges).by_name(found.values)

    held, free = scores(True), scores(False)
    into = {kind: [name for name in held if name.endswith(f"<{kind}>")] for kind in "qkv"}
    assert not any(held[name] for kind in "qk" for name in into[kind]) and any(free[name] for name in into["q"])
    assert np.count_nonzero([held[name] for name in into["v"]]) == len(into["v"])
