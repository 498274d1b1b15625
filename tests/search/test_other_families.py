"""Searches on models that are unlike GPT-2: grouped-query attention, post-norms, half precision."""

import numpy as np
import pytest
import torch
from families import VOCABULARY, hugging_face

import acdc
from acdc.behaviour.behaviour import Behaviour
from acdc.model.load import load_model
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.task.metrics import METRICS
from acdc.task.rows import Row, Task


def random_task(rows: int = 6, length: int = 7) -> Task:
    generator = torch.Generator().manual_seed(5)

    def prompt() -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist())

    return Task(
        "noise", tuple(Row(str(i), prompt(), prompt(), (i,), (i + 10,), length - 1) for i in range(rows)), "logit_diff"
    )


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt-neox-parallel"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    hugging_face(request.param).float().save_pretrained(folder)
    return load_model(str(folder), dtype="float64")


@pytest.mark.parametrize(("metric", "threshold"), [("kl", 0.05), ("nll", 0.1)])
def test_recorded_objective_is_that_of_the_circuit(model, metric, threshold):
    """What ACDC believes at its end is what its circuit measures, also where an unread head scales its layer."""
    task = random_task()
    found = acdc.discover(model, task, metric=metric, threshold=threshold, limit=len(task.rows))
    behaviour = Behaviour(model, task, range(len(task.rows)), METRICS[metric])
    measured = behaviour.measure(~found.circuit.mask[None])[0, 0].mean()
    last = found.decisions[-1]
    if not model.anatomy.post_norms:  # else inputs of unread heads may have gone after the last test
        assert (last.before if last.kept else last.after) == pytest.approx(measured, abs=1e-9)
    pruned = behaviour.measure(~found.circuit.graph.prune(found.circuit.mask)[None])[0, 0].mean()
    if not model.anatomy.post_norms:
        assert pruned == pytest.approx(measured, abs=1e-9)
    replay(behaviour, found)


def replay(behaviour: Behaviour, found: acdc.Result) -> None:
    """Every recorded test, measured again in the subgraph that stood when it was made."""
    graph = behaviour.graph
    kept = found.circuit.mask
    tested = [graph.index[decision.candidate] for decision in found.decisions]
    order = {edge: i for i, edge in enumerate(_visiting_order(graph))}
    for place, decision in enumerate(found.decisions):
        edge = tested[place]
        before = np.array([not kept[e] and order[e] < order[edge] for e in range(graph.n_edges)])
        with_edge = before.copy()
        with_edge[edge] = True
        values = behaviour.measure(np.stack([before, with_edge]))[0].mean(axis=1) * behaviour.metric.sign
        assert [decision.before, decision.after] == pytest.approx(values.tolist(), abs=1e-9)


def _visiting_order(graph) -> list[int]:
    return [int(edge) for step in receiver_steps(graph) for edge in step.candidates]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_full_model_is_at_no_distance_from_itself(tmp_path, dtype):
    hugging_face("llama").float().save_pretrained(tmp_path / "m")
    model = load_model(str(tmp_path / "m"), dtype=dtype)
    task = random_task()
    assert (Behaviour(model, task, range(6), METRICS["kl"]).full() == 0).all()


def test_metrics_of_the_wrong_shape_are_refused_everywhere(trio, induction):
    def mean(logits, batch):
        return logits.mean()

    for method in ("eap", "exact"):
        with pytest.raises(acdc.InputError, match="one value per row"):
            acdc.discover(trio, induction, method=method, metric=mean, edges=9, limit=4)


def test_a_circuit_of_another_anatomy_is_refused(trio, induction):
    circuit = acdc.discover(trio, induction, method="random", edges=9, limit=4).circuit
    shape = {**circuit.model.anatomy, "n_layers": 9}
    record = circuit.model_dump()
    changed = type(circuit).model_validate({**record, "model": {**record["model"], "anatomy": shape}})
    with pytest.raises(acdc.InputError, match="anatomy"):
        acdc.verify(trio, induction, changed)
