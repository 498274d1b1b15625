"""What a full verification measures besides the standard one."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.completeness import Completeness
from acdc.artefacts.verification.faithfulness import Faithfulness
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.mechanism import Composition, HeadHint
from acdc.artefacts.verification.minimality import Minimality
from acdc.artefacts.verification.over_sizes import Integrated
from acdc.artefacts.verification.sampling import Sampling
from acdc.artefacts.verification.test_result import TestResult


class Group(BaseModel):
    """Rows of one template, or of one length: how faithful the circuit is there, and how often it and the full model
    are right."""

    model_config = ConfigDict(frozen=True)

    group: str
    rows: int
    faithfulness: Interval
    accuracy: float | None
    accuracy_full: float | None


class Failure(BaseModel):
    """A row on which the circuit does worst against the full model, by the metric of discovery, in its unit."""

    model_config = ConfigDict(frozen=True)

    row: str
    group: str | None
    circuit: float
    full: float
    wrong: bool | None


class FullVerification(BaseModel):
    """`faithfulness`: by ablation and metric. `only_under`: the ablations under which the circuit is faithful by its
    own metric, where that is not all. `tests`: corrected together. `over_sizes`: CMD and CPR of the ranking that the
    circuit was chosen by. `fewer_rows`: what was measured on fewer rows than the metrics, to stay within the budget.
    `sampling`: what intervals and tests take for independent; None in files of before, which took rows."""

    model_config = ConfigDict(frozen=True)

    faithfulness: list[Faithfulness]
    only_under: list[str] | None
    completeness: Completeness | None
    minimality: Minimality | None
    tests: list[TestResult]
    groups: list[Group]
    failures: list[Failure]
    over_sizes: Integrated | None = None
    hints: list[HeadHint] = []
    composition: list[Composition] = []
    left_out: dict[str, str]
    fewer_rows: dict[str, int] = {}
    sampling: Sampling | None = None
