"""Roles in different models: planted ones under other names, and programs compiled in different ways."""

import numpy as np
import pytest
from programs import (
    COPY_FIRST,
    COPY_PREVIOUS,
    COPY_TWO_BACK,
    FIRST,
    PREVIOUS,
    SAYS_TWO_BACK,
    Output,
    programs,
)

from acdc.artefacts.universality import CircuitRoles, Role
from acdc.benchmark.programs.language import Lookup, Variable
from acdc.errors import InputError
from acdc.verification.universality import ALIKE, SHUFFLES, compare_circuits, roles_of

SUM = Variable("sum", 3)
ADD = Lookup.of(SUM, (PREVIOUS, FIRST), lambda a, b: (a + b) % 3 if min(a, b) else None)
SAYS_SUM = Output(SUM, lambda prompt: (prompt[-2] + prompt[1]) % 3)


def circuit(name, roles):
    common = {"model": name, "task": "t", "metric": "logit_diff", "ablation": "resample", "rows": 8}
    return CircuitRoles(name=name, roles=roles, **common)


def planted(generator, count, kind="head"):
    """Roles with nothing in common."""
    return [
        Role(
            id=f"{kind}{number}",
            kind=kind,
            label=None,
            depth=(number + 0.5) / count,
            direct=float(generator.normal()),
            total=float(generator.normal()),
            attention=dict(zip("abcdef", generator.dirichlet([0.3] * 6).tolist(), strict=True))
            if kind == "head"
            else {},
        )
        for number in range(count)
    ]


def renamed(roles, order):
    return [roles[place].model_copy(update={"id": f"x{number}"}) for number, place in enumerate(order)]


def test_equal_roles_are_found_under_other_names():
    generator = np.random.default_rng(0)
    roles = planted(generator, 7) + planted(generator, 3, "MLP")
    order = generator.permutation(10)
    found = compare_circuits(circuit("a", roles), circuit("b", renamed(roles, order)), 0)
    assert found.agreement == pytest.approx(1.0) and found.shared == 10
    assert {match.first: match.second for match in found.matches} == {
        roles[place].id: f"x{number}" for number, place in enumerate(order)
    }
    assert all(match.alike == match.effect == match.depth == pytest.approx(1.0) for match in found.matches)
    assert [match.attention is None for match in found.matches] == [match.first[0] == "M" for match in found.matches]
    assert found.chance.mean < found.chance.high < 0.85 and found.chance.p == pytest.approx(1 / (1 + SHUFFLES))


def test_what_has_no_counterpart_counts():
    """Half of the roles are in one circuit alone: at most 5 of (10 + 5) / 2 can agree."""
    roles = planted(np.random.default_rng(1), 10)
    found = compare_circuits(circuit("a", roles), circuit("b", renamed(roles, range(5))), 0)
    assert found.agreement == pytest.approx(5 / 7.5) and found.shared == len(found.matches) == 5
    nothing = compare_circuits(circuit("a", roles), circuit("b", planted(np.random.default_rng(2), 3, "MLP")), 0)
    assert (nothing.agreement, nothing.matches) == (0.0, []) and nothing.chance.p == 1.0


@pytest.mark.thorough
def test_roles_without_relation_are_not_significant_more_often_than_chance_allows():
    generator, trials = np.random.default_rng(3), 60
    p = [
        compare_circuits(circuit("a", planted(generator, 6)), circuit("b", planted(generator, 6)), seed).chance.p
        for seed in range(trials)
    ]
    assert sum(value <= 0.05 for value in p) <= 8  # a chance of 0.2 % under the null hypothesis
    assert 0.35 < np.mean(p) < 0.65


def test_effects_of_different_signs_are_not_alike():
    one, *_ = planted(np.random.default_rng(4), 1)
    turned = one.model_copy(update={"direct": -one.direct, "total": -one.total})
    (match,) = compare_circuits(circuit("a", [one]), circuit("b", [turned]), 0).matches
    assert match.effect == 0.0 and match.attention == pytest.approx(1.0) and 2 / 3 <= match.alike < ALIKE
    tiny = [one.model_copy(update={"direct": x, "total": x}) for x in (1e-4, -1e-4)]
    (match,) = compare_circuits(circuit("a", tiny[:1]), circuit("b", tiny[1:]), 0).matches
    assert match.effect > 0.98  # both do nothing


def test_comparisons_follow_from_the_seed():
    roles = planted(np.random.default_rng(5), 5), planted(np.random.default_rng(6), 6)
    pair = circuit("a", roles[0]), circuit("b", roles[1])
    assert compare_circuits(*pair, 1) == compare_circuits(*pair, 1) != compare_circuits(*pair, 2)


def measured(made, output, name):
    task = made.task(output, name)
    return roles_of(name, made.model, task, made.circuit(output, task))


def test_programs_compiled_in_different_ways_have_the_same_roles(tmp_path):
    """The second model has the heads the other way round, in another basis, with distractors and a layer on top."""
    plain = programs(tmp_path / "a", [COPY_PREVIOUS, COPY_FIRST, ADD], [SAYS_SUM])
    operations = [COPY_FIRST, COPY_PREVIOUS, ADD, COPY_TWO_BACK]
    other = programs(tmp_path / "b", operations, [SAYS_SUM, SAYS_TWO_BACK], rotated=True, distractors=2)
    first, second = measured(plain, SAYS_SUM, "sum"), measured(other, SAYS_SUM, "sum")
    assert [role.id for role in first.roles] == [role.id for role in second.roles] == ["a0.h0", "a0.h1", "m0"]
    by_id = {role.id: role for role in first.roles}
    assert by_id["m0"].direct == by_id["m0"].total == pytest.approx(1.0)  # all that is said comes from it
    assert by_id["a0.h0"].direct == pytest.approx(0.0, abs=1e-9) and by_id["a0.h0"].total > 0.1
    assert by_id["m0"].depth == 0.75 and {role.id: role.depth for role in second.roles}["m0"] == 0.375
    found = compare_circuits(first, second, 0)
    assert {(match.first, match.second) for match in found.matches} == {
        ("a0.h0", "a0.h1"),
        ("a0.h1", "a0.h0"),
        ("m0", "m0"),
    }
    assert found.shared == 3 and found.agreement > 0.85
    assert all(match.effect == pytest.approx(1.0) for match in found.matches)
    unrelated = compare_circuits(first, measured(other, SAYS_TWO_BACK, "two back"), 0)
    assert unrelated.agreement < 0.6 and unrelated.shared <= 1
    assert found.chance.p == 1.0  # both heads have the same effect: what is shuffled can be matched as well


def test_what_has_no_roles_is_refused(tmp_path):
    made = programs(tmp_path / "a", [COPY_PREVIOUS, COPY_FIRST, ADD], [SAYS_SUM])
    task = made.task(SAYS_SUM, "sum")
    none = made.circuit_of({"tok_embed->logits"}, task)
    with pytest.raises(InputError, match="run x has no component besides the embeddings"):
        roles_of("x", made.model, task, none)
    whole = made.circuit(SAYS_SUM, task)
    used = whole.task.model_copy(update={"verification": []})
    with pytest.raises(InputError, match="run x has no rows that discovery did not use"):
        roles_of("x", made.model, task, whole.model_copy(update={"task": used}))
