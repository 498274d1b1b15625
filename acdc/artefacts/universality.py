"""Circuits of one task in several models: which components do the same job, and how much of that chance would give."""

from pydantic import BaseModel, ConfigDict

Kind = str  # "head" or "MLP"


class Role(BaseModel):
    """What a component of a circuit does. `depth`: from 0, the first layer, to 1, after the last. `direct` and `total`:
    what the task loses where its edge to the logits alone, and where all that it writes, is ablated in the full model,
    as a share of the metric's range. `attention`: of a head, its shares by target. `label`: what stands out in it."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind
    label: str | None
    depth: float
    direct: float
    total: float
    attention: dict[str, float]


class CircuitRoles(BaseModel):
    """The roles in a circuit, under the `name` of its run."""

    model_config = ConfigDict(frozen=True)

    name: str
    model: str
    task: str
    metric: str
    ablation: str
    rows: int
    roles: list[Role]


class RoleMatch(BaseModel):
    """Two components that stand for each other, and how alike they are, from 0 to 1: in all, in where they attend (None
    of MLPs), in their effects and in depth."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    alike: float
    attention: float | None
    effect: float
    depth: float


class Chance(BaseModel):
    """Agreement where attention, effects and depths of the second circuit's components are shuffled: the mean, what 95%
    of the `shuffles` stay below, and the share `p` that reaches what was found (itself counted)."""

    model_config = ConfigDict(frozen=True)

    shuffles: int
    mean: float
    high: float
    p: float


class RolePair(BaseModel):
    """Two circuits of different models by the names of their runs. `agreement`: how alike matched components are, in
    all, over the mean number of components of the two. `shared`: how many matches are alike enough to count."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    agreement: float
    shared: int
    matches: list[RoleMatch]
    chance: Chance


class Universality(BaseModel):
    """Circuits of one task in several models. `unrelated`: pairs of each with a circuit of another task in a model that
    is not its own; empty where none were named."""

    model_config = ConfigDict(frozen=True)

    circuits: list[CircuitRoles]
    pairs: list[RolePair]
    others: list[CircuitRoles] = []
    unrelated: list[RolePair] = []

    @property
    def reached_by_unrelated(self) -> int:
        """How many unrelated pairs agree at least as much as the least of the pairs of the task."""
        least = min(pair.agreement for pair in self.pairs)
        return sum(pair.agreement >= least for pair in self.unrelated)
