"""Whether a circuit is that of one behaviour: what ablating it does to other tasks, and what theirs do to its own."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval


class AblatedTask(BaseModel):
    """A task with its circuit: by which metric and on how many unseen rows it was measured, how many edges its circuit
    has, and how many of these the circuit that is verified has too."""

    model_config = ConfigDict(frozen=True)

    name: str
    metric: str
    rows: int
    edges: int
    shared: int


class Harm(BaseModel):
    """What ablating all edges of the circuit of one task in the full model does to another or to the same: `lost`, the
    share of the behaviour (1: as with every edge ablated), and the `change` of the metric, in its own sign."""

    model_config = ConfigDict(frozen=True)

    circuit: str
    task: str
    lost: Interval
    change: Interval


class Specificity(BaseModel):
    """The `harms` of each circuit to each task; the first of the `tasks` is the one whose circuit is verified, and
    under its `ablation` all are measured."""

    model_config = ConfigDict(frozen=True)

    ablation: str
    tasks: list[AblatedTask]
    harms: list[Harm]

    @property
    def own(self) -> Harm:
        """What ablating the verified circuit does to its own task."""
        return self.of(self.tasks[0].name, self.tasks[0].name)

    @property
    def to_others(self) -> list[Harm]:
        """What it does to every other task."""
        return [self.of(self.tasks[0].name, task.name) for task in self.tasks[1:]]

    @property
    def by_others(self) -> list[Harm]:
        """What the circuits of other tasks do to its own."""
        return [self.of(task.name, self.tasks[0].name) for task in self.tasks[1:]]

    def of(self, circuit: str, task: str) -> Harm:
        return next(harm for harm in self.harms if (harm.circuit, harm.task) == (circuit, task))
