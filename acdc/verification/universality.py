"""Whether circuits of one task in different models consist of the same roles, whatever their components are called.

A component's role is where it attends (heads only), what it does to the metric along its edge to the logits alone and
in all, and its depth, each measured in its own model, as shares that models of any size have. Of two circuits, the two
components that are most alike are matched first, then of those left, heads with heads and MLPs with MLPs; so a
component is matched with the one that it is most like, unless that is more like another.

What chance gives is told by shuffles: attention, effects and depths of the second circuit's components are each dealt
out anew among its heads and among its MLPs, and matched again. That keeps what the components of the circuit have
between them, and breaks up which of it belongs together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.universality import Chance, CircuitRoles, Role, RoleMatch, RolePair
from acdc.artefacts.verification.mechanism import HeadHint
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.graph import Edge, Writer, WriterKind
from acdc.model.load import Model
from acdc.progress import Advance, nobody
from acdc.task.rows import Task
from acdc.verification.binding import behaviour_of, check_same, own_metric, rows_of
from acdc.verification.budget import Costs, rows_within, spread_over
from acdc.verification.intervals import Bootstrap
from acdc.verification.mechanism import hint
from acdc.verification.sampled_units import SampledUnits

HEAD, MLP = "head", "MLP"
ALIKE = 0.7  # of two components, from which they count as the same role
SMALL = 0.02  # of the range: effects below it are told apart less and less
SHUFFLES = 1000
FLOPS, FEWEST = 10e12, 16  # for one circuit; rows, whatever the budget


def roles_of(name: str, model: Model, task: Task, circuit: Circuit, advance: Advance = nobody) -> CircuitRoles:
    """What the components of a circuit do, on its unseen rows; `advance` is told of runs.

    Raises InputError without such rows, for a model whose attention cannot be read, and for a circuit without edges.
    """
    check_same(model, task, circuit)
    writers = _writers(circuit)
    names = circuit.task.verification
    if not names or not writers:
        lacks = "no component besides the embeddings" if names else "no rows that discovery did not use"
        raise InputError(f"run {name} has {lacks}: there are no roles to compare")
    rows = rows_of(task, names)
    costs = Costs.of(model, circuit.graph, rows)
    most = rows_within(FLOPS, 2 * len(writers), costs, FEWEST, len(rows))
    with fixed_threads(circuit.batch.threads):
        on = behaviour_of(model, task, circuit, spread_over(names, most), own_metric(circuit))
        roles = _roles(on, writers, circuit.seed)
    advance(1)
    return CircuitRoles(
        name=name,
        model=circuit.model.name,
        task=circuit.task.name,
        metric=circuit.metric,
        ablation=circuit.ablation,
        rows=most,
        roles=roles,
    )


def _writers(circuit: Circuit) -> list[Writer]:
    """The heads and MLPs that an edge of the circuit leads out of."""
    found = {Edge.parse(edge.id).writer for edge in circuit.links}
    return [w for w in circuit.graph.writers if w in found and w.kind in (WriterKind.HEAD, WriterKind.MLP)]


def _roles(behaviour: Behaviour, writers: Sequence[Writer], seed: int) -> list[Role]:
    heads = [writer for writer in writers if writer.kind is WriterKind.HEAD]
    hints = hint(behaviour, heads, Bootstrap(SampledUnits.of(behaviour.rows), seed), nobody)
    if hints is None:
        raise InputError(
            f"model {behaviour.model.name!r} is run by its own modules, which do not return attention patterns: its "
            "heads cannot be compared"
        )
    full, empty = behaviour.ends()
    graph = behaviour.graph
    ends, _ = graph.ends
    every = np.arange(graph.n_edges)
    places = [graph.writer_index[writer] for writer in writers]
    direct = np.stack([every == graph.index[f"{writer.id}->logits"] for writer in writers])
    whole = np.stack([np.concatenate([ends == p, np.zeros(graph.n_edges - len(ends), dtype=bool)]) for p in places])
    lost = (full - behaviour.measure(np.concatenate([direct, whole]))[0].mean(axis=1)) / (full - empty)
    by_id = {one.id: one for one in hints}
    return [
        _role(writer, by_id.get(writer.id), alone, in_all, graph.anatomy.n_layers)
        for writer, alone, in_all in zip(writers, *np.split(lost, 2), strict=True)
    ]


def _role(writer: Writer, hint: HeadHint | None, direct: float, total: float, layers: int) -> Role:
    half = 0.25 if hint else 0.75  # heads come first in a layer
    attention = {}
    if hint is not None:
        shares = {"": hint.attention.everywhere, " from the answer": hint.attention.answer}
        attention = {f"{name}{at}": share or 0.0 for at, of in shares.items() for name, share in of.items()}
    return Role(
        id=writer.id,
        kind=HEAD if hint else MLP,
        label=hint.label if hint else None,
        depth=(writer.layer + half) / layers,
        direct=float(direct),
        total=float(total),
        attention=attention,
    )


def compare_circuits(first: CircuitRoles, second: CircuitRoles, seed: int) -> RolePair:
    """Match the roles of two circuits, and say what shuffled roles would give."""
    parts = _Likeness.of(first.roles, second.roles)
    matched, generator = _match(parts.all), np.random.default_rng(seed)
    size = (len(first.roles) + len(second.roles)) / 2
    agreement = sum(parts.all[i, j] for i, j in matched) / size
    kinds = np.array([role.kind for role in second.roles])
    by_chance = np.empty(SHUFFLES)
    for number in range(SHUFFLES):
        likeness = parts.shuffled(kinds, generator).all
        by_chance[number] = sum(likeness[i, j] for i, j in _match(likeness)) / size
    return RolePair(
        first=first.name,
        second=second.name,
        agreement=float(agreement),
        shared=sum(bool(parts.all[i, j] >= ALIKE) for i, j in matched),
        matches=[parts.match(first.roles, second.roles, i, j) for i, j in matched],
        chance=Chance(
            shuffles=SHUFFLES,
            mean=float(by_chance.mean()),
            high=float(np.quantile(by_chance, 0.95)),
            p=float((1 + (by_chance >= agreement - 1e-12).sum()) / (1 + SHUFFLES)),
        ),
    )


@dataclass(frozen=True)
class _Likeness:
    """How alike the components of two circuits are [first, second] in each respect, whether both are of one `kind`, and
    whether both are `heads`."""

    attention: np.ndarray
    effect: np.ndarray
    depth: np.ndarray
    kind: np.ndarray
    heads: np.ndarray

    @classmethod
    def of(cls, first: Sequence[Role], second: Sequence[Role]) -> "_Likeness":
        targets = sorted({name for role in (*first, *second) for name in role.attention})

        def pairs(value: Callable[[Role], object]) -> tuple[np.ndarray, np.ndarray]:
            """Of all roles, to be combined: [first, 1, ...] and [1, second, ...]."""
            return np.array([value(role) for role in first])[:, None], np.array([value(role) for role in second])[None]

        here, there = pairs(lambda role: role.depth)
        ours, theirs = pairs(lambda role: role.kind)
        return cls(
            attention=_overlap(*pairs(lambda role: [role.attention.get(name, 0.0) for name in targets])),
            effect=(_near(*pairs(lambda role: role.direct)) + _near(*pairs(lambda role: role.total))) / 2,
            depth=1 - np.abs(here - there),
            kind=ours == theirs,
            heads=(ours == HEAD) & (theirs == HEAD),
        )

    @property
    def all(self) -> np.ndarray:
        """The mean of those that there are; -1 for a head and an MLP."""
        without = (self.effect + self.depth) / 2
        found = np.where(self.heads, (self.attention + self.effect + self.depth) / 3, without)
        return np.where(self.kind, found, -1.0)

    def shuffled(self, kinds: np.ndarray, generator: np.random.Generator) -> "_Likeness":
        """With attention, effects and depths of the second circuit each dealt out anew among components of one of the
        `kinds` [second]."""

        def dealt(values: np.ndarray) -> np.ndarray:
            order = np.arange(len(kinds))
            for kind in sorted(set(kinds.tolist())):
                of_kind = np.flatnonzero(kinds == kind)
                order[of_kind] = generator.permutation(of_kind)
            return values[:, order]

        return _Likeness(dealt(self.attention), dealt(self.effect), dealt(self.depth), self.kind, self.heads)

    def match(self, first: Sequence[Role], second: Sequence[Role], i: int, j: int) -> RoleMatch:
        return RoleMatch(
            first=first[i].id,
            second=second[j].id,
            alike=float(self.all[i, j]),
            attention=float(self.attention[i, j]) if self.heads[i, j] else None,
            effect=float(self.effect[i, j]),
            depth=float(self.depth[i, j]),
        )


def _match(alike: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column), the most alike first, each row and column once; equal ones by their places."""
    found: list[tuple[int, int]] = []
    rows, columns = set(range(alike.shape[0])), set(range(alike.shape[1]))
    for place in np.argsort(-alike, axis=None, kind="stable").tolist():
        i, j = divmod(place, alike.shape[1])
        if alike[i, j] < 0 or not rows or not columns:
            break
        if i in rows and j in columns:
            found.append((i, j))
            rows.remove(i)
            columns.remove(j)
    return found


def _near(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 of equal effects, 0 of those with different signs, and of others what the smaller is of the larger; effects are
    taken to differ by at most what they do by as much as `SMALL` more of each."""
    largest = np.maximum(np.abs(one), np.abs(other)) + SMALL
    return np.clip(1 - np.abs(one - other) / largest, 0.0, 1.0)


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What two sets of shares have in common, along the last axis (Ruzicka's similarity); 1 of two of zeros."""
    less, more = np.minimum(one, other).sum(-1), np.maximum(one, other).sum(-1)
    return np.divide(less, more, out=np.ones_like(less), where=more > 0)
