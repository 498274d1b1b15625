"""A circuit without one of its parts."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval


class Removal(BaseModel):
    """The circuit without one of its parts, an edge or a node: change of the metric in its own sign, and on what share
    of rows it got worse. `worse`: by how much it got worse on average, with an interval over rows, in the metric's
    unit; older files lack it. `hurts`: the part is needed: the metric gets worse on average by more than 0.1 %
    of the range between full and empty (`minimality.TOLERANCE`); in older files, by more than a millionth of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    change: float
    rows_worse: float
    hurts: bool
    worse: Interval | None = None
