"""How much of a circuit other samples of the rows find again."""

from pydantic import BaseModel, ConfigDict, Field

from acdc.artefacts.verification.sampling import Sampling


class EdgeStability(BaseModel):
    """How often an edge was found; `certified`: how many rows could change without changing what is said of it."""

    model_config = ConfigDict(frozen=True)

    id: str
    frequency: float
    certified: int


class Repeat(BaseModel):
    """One more discovery: what set it apart, how many edges it found, and the share that it has in common with the
    circuit (Jaccard: of the edges that either has)."""

    model_config = ConfigDict(frozen=True)

    name: str
    edges: int
    jaccard: float


class Repeats(BaseModel):
    """Discoveries that differ in one thing. `jaccard`: shared edges of any two of them, on average; None of one."""

    model_config = ConfigDict(frozen=True)

    jaccard: float | None
    each: list[Repeat]


class Stability(BaseModel):
    """`core`: stable edges. `abstained`: those that cannot be told. `unstable`: of the circuit, those that most
    repetitions miss. `jaccard`: shared edges of two repetitions, on average. `seeds`: discoveries with other seeds,
    None where a seed makes no difference. `templates`: one on the rows of each, None where rows name no two. `what`:
    was found again or not, edges or other units, in the plural."""

    model_config = ConfigDict(frozen=True)

    repeats: int
    rows: int
    rows_each: int
    jaccard: float
    core: list[EdgeStability]
    abstained: list[EdgeStability]
    unstable: list[EdgeStability]
    seeds: Repeats | None = None
    templates: Repeats | None = None
    what: str = Field(default="edges", exclude_if=lambda what: what == "edges")


class Bootstraps(BaseModel):
    """Discoveries on `count` resamples of all rows, drawn with replacement; `sampling`: in which units. `jaccard`:
    shared edges of any two, on average. `to_circuit`: the share that each has in common with the circuit, the least,
    the mean and the greatest. `edges`: the mean number of edges. `frequencies`: how often each edge of the circuit was
    found. `averaged`: scores of single rows were averaged over each resample, which gives the method's own; else the
    search was repeated."""

    model_config = ConfigDict(frozen=True)

    count: int
    sampling: Sampling
    averaged: bool
    jaccard: float
    to_circuit: tuple[float, float, float]
    edges: float
    frequencies: dict[str, float]
