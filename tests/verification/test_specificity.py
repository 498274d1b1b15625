"""What circuits do to other tasks, in models of several programs, where it is known."""

import pytest
from programs import COPY_FIRST, COPY_PREVIOUS, COPY_TWO_BACK, SAYS_FIRST, SAYS_PREVIOUS, SAYS_TWO_BACK, programs

from acdc.errors import InputError
from acdc.progress import silent
from acdc.verification.specificity import Subject, measure_specificity


def measured(made, *outputs):
    subjects = []
    for name, output in zip("abc", outputs, strict=False):
        task = made.task(output, name)
        subjects.append(Subject(name, task, made.circuit(output, task)))
    return measure_specificity(made.model, subjects, silent)


def lost(found):
    return {(harm.circuit, harm.task): harm.lost for harm in found.harms}


def test_programs_apart_do_not_hurt_each_other(tmp_path):
    """Two heads of one layer: each circuit takes all of its own behaviour and nothing of the other's."""
    made = programs(tmp_path / "m", [COPY_PREVIOUS, COPY_FIRST], [SAYS_PREVIOUS, SAYS_FIRST])
    found = measured(made, SAYS_PREVIOUS, SAYS_FIRST)
    assert [task.shared for task in found.tasks] == [2, 0] and [task.edges for task in found.tasks] == [2, 2]
    assert [task.rows for task in found.tasks] == [24, 24]
    for (circuit, task), share in lost(found).items():
        assert share.value == pytest.approx(float(circuit == task), abs=1e-9)
        assert share.low == pytest.approx(share.value, abs=1e-9) and share.high == pytest.approx(share.value, abs=1e-9)
    assert found.own.change.value == pytest.approx(-10.0, abs=1e-9)  # 5 logits up turn into 5 down
    assert found.to_others[0].task == found.by_others[0].circuit == "b"


def test_a_shared_head_hurts_both(tmp_path):
    """Two heads in a row: the first one says the previous token, the second the one before, which needs the first."""
    made = programs(tmp_path / "m", [COPY_PREVIOUS, COPY_TWO_BACK], [SAYS_PREVIOUS, SAYS_TWO_BACK])
    found = measured(made, SAYS_PREVIOUS, SAYS_TWO_BACK)
    assert [(task.edges, task.shared) for task in found.tasks] == [(2, 2), (3, 1)]
    assert all(share.value == pytest.approx(1.0, abs=1e-9) for share in lost(found).values())


def test_harm_may_go_one_way(tmp_path):
    """A circuit that has the other in it hurts the other, which does not hurt it."""
    made = programs(tmp_path / "m", [COPY_PREVIOUS, COPY_FIRST], [SAYS_PREVIOUS, SAYS_FIRST])
    tasks = made.task(SAYS_FIRST, "wide"), made.task(SAYS_PREVIOUS, "narrow")
    narrow = made.circuit(SAYS_PREVIOUS, tasks[1])
    wide = made.circuit_of(made.edges(SAYS_PREVIOUS) | made.edges(SAYS_FIRST), tasks[0])
    found = measure_specificity(made.model, [Subject("w", tasks[0], wide), Subject("n", tasks[1], narrow)], silent)
    assert [(task.edges, task.shared) for task in found.tasks] == [(4, 4), (2, 2)]
    (hurts,), (hurt) = found.to_others, found.by_others[0]
    assert hurts.lost.value == pytest.approx(1.0, abs=1e-9) and hurt.lost.value == pytest.approx(0.0, abs=1e-9)


def test_what_cannot_be_compared_is_refused(tmp_path):
    made = programs(tmp_path / "m", [COPY_PREVIOUS, COPY_FIRST], [SAYS_PREVIOUS, SAYS_FIRST])
    task = made.task(SAYS_PREVIOUS, "a")
    circuit = made.circuit(SAYS_PREVIOUS, task)
    elsewhere = programs(tmp_path / "n", [COPY_FIRST], [SAYS_FIRST])
    other = elsewhere.task(SAYS_FIRST, "b")
    with pytest.raises(InputError, match="another model"):
        subjects = [Subject("a", task, circuit), Subject("b", other, elsewhere.circuit(SAYS_FIRST, other))]
        measure_specificity(made.model, subjects, silent)
    used = circuit.task.model_copy(update={"verification": []})
    with pytest.raises(InputError, match="discovery used all rows of a"):
        measure_specificity(made.model, [Subject("a", task, circuit.model_copy(update={"task": used}))], silent)
