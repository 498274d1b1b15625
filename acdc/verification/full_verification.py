"""All that a sceptic asks of a circuit: how faithful, complete and minimal it is, and what chance would do as well.

Measured on rows that discovery did not see. Numbers have bootstrap intervals over rows; tests are corrected together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from acdc.artefacts.verification.completeness import Completeness
from acdc.artefacts.verification.faithfulness import Faithfulness
from acdc.artefacts.verification.full_verification import Failure, FullVerification, Group
from acdc.artefacts.verification.minimality import Minimality
from acdc.artefacts.verification.over_sizes import SHARES, EdgeRanking, Integrated
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.artefacts.verification.removal import Removal
from acdc.artefacts.verification.sampling import FEWEST_UNITS
from acdc.artefacts.verification.test_result import AGAINST_RANDOM, TestResult
from acdc.behaviour.ablations import ABLATIONS
from acdc.behaviour.behaviour import Behaviour, usable_metrics
from acdc.behaviour.optimal import UPDATES as OPTIMAL_UPDATES
from acdc.errors import InputError
from acdc.graph import Writer, WriterKind
from acdc.graph.masks import Mask, concatenate
from acdc.progress import Advance, Progress, nobody
from acdc.search.choosing import helpfulness
from acdc.task.metrics import METRICS, NOISE, Metric, recovered_fraction
from acdc.task.rows import Row
from acdc.verification import baselines, statistics
from acdc.verification.budget import Costs, rows_within
from acdc.verification.completeness import knockouts, measure_completeness
from acdc.verification.faithful import measure_ablations, only_under
from acdc.verification.integrated import integrate
from acdc.verification.intervals import Bootstrap, recovered
from acdc.verification.mechanism import compose, hint
from acdc.verification.minimality import DRAWN, measure_minimality
from acdc.verification.sampled_units import SampledUnits
from acdc.words import are, count_of

RANDOM = 240  # circuits of each kind: the least p-value is 1 / 241, and survives a correction over some ten tests
MOST_FAILURES = 20
EXTRA_FLOPS, OPTIMAL_SHARE = 25e12, 0.3  # of what is measured here; of that, for constants of optimal ablation
FEWEST_VERIFIED = FEWEST_UNITS  # rows of each part, whatever the budget


@dataclass(frozen=True)
class Verified:
    """A circuit to verify in full: by all that is not in it and by what is its own.

    `edges`: its edges, boolean [edges], where it is one of edges, else None. `ranking`: what it was chosen by, if it is
    known of all edges.
    """

    ablated: Mask
    own: Mask
    edges: np.ndarray | None
    seed: int
    ranking: EdgeRanking | None = None


On = Callable[..., Behaviour]  # on so many rows (and under an ablation): the behaviour


def full_verification(
    on: On, plan: VerificationPlan, removals: Sequence[Removal], verified: Verified, progress: Progress
) -> FullVerification:
    """`on`: the behaviour on so many of the unseen rows, under the circuit's own ablation or another. `plan`: of the
    verification that this is a part of; `removals`: what that measured of the circuit's parts."""
    behaviour, shares = on(plan.rows), _Shares(on(plan.rows), plan.rows)
    bootstrap, metrics = _bootstrap(behaviour, verified.seed), measured_metrics(behaviour)
    with progress("rows, groups and heads", 2 * plan.rows, "prompts") as advance:
        runs = RowValues.of(behaviour, verified, advance)
        hints = hint(behaviour, _heads(behaviour, verified), bootstrap, nobody)
    faithfulness, left_out = _under_ablations(on, verified, metrics, shares, progress)
    if verified.edges is None:
        left_out |= dict.fromkeys(EDGES_ONLY, "it needs a circuit of edges")
    if hints is None:
        left_out["what heads attend to"] = "the model is run by its own modules, which do not return attention patterns"
    if verified.ranking is None:
        left_out["CMD and CPR"] = "it needs scores of all edges"
    full, empty = float(runs.full.mean()), float(runs.empty.mean())
    span = 0.0 if recovered_fraction(full, full, empty) is None else abs(full - empty)
    complete = minimal = None
    if verified.edges is not None:
        complete = _complete(on, verified, span, shares, progress)
        minimal = _minimal(on, plan, verified, removals, span, shares, progress)
    return FullVerification(
        faithfulness=faithfulness,
        only_under=only_under(faithfulness, behaviour.metric.name),
        completeness=complete,
        minimality=minimal,
        tests=statistics.correct(_tests(on, verified, runs, shares, progress)),
        groups=groups_of(behaviour.rows, runs, verified.seed),
        failures=failures_of(behaviour.metric, behaviour.rows, runs),
        over_sizes=_over_sizes(on, verified, shares, progress),
        hints=hints or [],
        composition=(None if verified.edges is None else compose(behaviour, verified.edges)) or [],
        left_out=left_out,
        fewer_rows=shares.fewer,
        sampling=bootstrap.units.record,
    )


def _bootstrap(behaviour: Behaviour, seed: int) -> Bootstrap:
    return Bootstrap(SampledUnits.of(behaviour.rows), seed)


class _Shares:
    """On how many rows each part is measured, so that its share of the budget suffices."""

    def __init__(self, behaviour: Behaviour, rows: int):
        self.costs, self.rows = Costs.of(behaviour.model, behaviour.graph, behaviour.rows), rows
        self.fewer: dict[str, int] = {}

    def rows_for(self, what: str, share: float, runs: int) -> int:
        """For a part that takes so many runs of subgraphs on every row."""
        rows = rows_within(share * EXTRA_FLOPS, runs, self.costs, FEWEST_VERIFIED, self.rows)
        if rows < self.rows:
            self.fewer[what] = rows
        return rows

    def affords_optimal(self, batch: int) -> bool:
        """Whether constants of optimal ablation can be learnt, by passes forward and back."""
        return OPTIMAL_UPDATES * batch * 3 * self.costs.plain <= OPTIMAL_SHARE * EXTRA_FLOPS


def _under_ablations(
    on: On, verified: Verified, metrics: Sequence[Metric], shares: _Shares, progress: Progress
) -> tuple[list[Faithfulness], dict[str, str]]:
    """(faithfulness under every ablation, why it was not measured under some)."""
    rows = shares.rows_for("faithfulness under other ablations", 0.15, 5 * len(ABLATIONS.built_in))
    bootstrap, found, refused = _bootstrap(on(rows), verified.seed), [], {}
    own = on(rows).ablation
    names = list(dict.fromkeys([own, *ABLATIONS.built_in]))
    with progress(f"faithfulness under {len(names)} ablations", 3 * rows * len(names), "prompts") as advance:
        for name in names:
            what = f"faithfulness under {name} ablation"
            if name == "optimal" != own and not shares.affords_optimal(len(on(rows).batches[0].index)):
                refused[what] = (
                    "learning its constants exceeds the budget; discover with --ablation optimal to measure it"
                )
                continue
            try:
                under = on(rows) if name == own else on(rows, name)
                found += measure_ablations({name: under}, verified.ablated, verified.own, metrics, bootstrap, advance)
            except InputError as error:
                refused[what] = str(error)
    return found, refused


def _complete(on: On, verified: Verified, span: float, shares: _Shares, progress: Progress) -> Completeness | None:
    assert verified.edges is not None  # asked of circuits of edges alone
    runs = knockouts(int(verified.edges.sum()))
    rows = shares.rows_for("completeness", 0.1, 2 * runs)
    with progress(f"completeness, {count_of(runs, 'knockout')}", 2 * runs * rows, "prompts") as advance:
        return measure_completeness(
            on(rows), verified.edges, verified.seed, span, _bootstrap(on(rows), verified.seed), advance
        )


def _minimal(
    on: On,
    plan: VerificationPlan,
    verified: Verified,
    removals: Sequence[Removal],
    span: float,
    shares: _Shares,
    progress: Progress,
) -> Minimality | None:
    assert verified.edges is not None
    rows = shares.rows_for("minimality", 0.2, 2 * DRAWN)
    with progress(f"minimality, {DRAWN} random edges outside", 2 * DRAWN * rows, "prompts") as advance:
        whole = len(removals) == int(verified.edges.sum())
        return measure_minimality(on(rows), verified.edges, removals, whole, verified.seed, span, advance)


EDGES_ONLY = ("completeness", "minimality", "sufficiency", "necessity")


def _over_sizes(on: On, verified: Verified, shares: _Shares, progress: Progress) -> Integrated | None:
    ranking = verified.ranking
    if ranking is None:
        return None
    rows = shares.rows_for("CMD and CPR", 0.1, 2 * len(SHARES))
    behaviour = on(rows)
    helps = helpfulness(ranking.values, ranking.kind, behaviour.metric.sign)
    with progress(f"circuits of {len(SHARES)} sizes", 2 * len(SHARES) * rows, "prompts") as advance:
        return integrate(behaviour, ranking.values, helps, ranking.basis, advance)


def _heads(behaviour: Behaviour, verified: Verified) -> list[Writer]:
    """The heads of a circuit of edges that write something it reads."""
    if verified.edges is None:
        return []
    graph = behaviour.graph
    writers, _ = graph.ends
    writing = set(writers[graph.prune(verified.edges)[: len(writers)]].tolist())
    return [writer for i, writer in enumerate(graph.writers) if i in writing and writer.kind is WriterKind.HEAD]


@dataclass(frozen=True)
class RowValues:
    """The metric [rows] of the full model, the circuit, its complement and the empty circuit; of the first two also
    which share of a row's answers is right, None where the rows have no answers."""

    full: np.ndarray
    circuit: np.ndarray
    complement: np.ndarray
    empty: np.ndarray
    right: np.ndarray | None = None
    right_full: np.ndarray | None = None

    @classmethod
    def of(cls, behaviour: Behaviour, verified: Verified, advance: Advance) -> "RowValues":
        metrics: list[Metric] = [behaviour.metric]
        if METRICS["accuracy"] in measured_metrics(behaviour):
            metrics.append(METRICS["accuracy"])
        values = behaviour.measure(concatenate([verified.ablated, verified.own]), metrics, advance)
        plain = behaviour.plain(metrics)
        answers = (values[1, 0], plain[1]) if len(metrics) > 1 else (None, None)
        return cls(plain[0], values[0, 0], values[0, 1], behaviour.empty(), *answers)


def measured_metrics(behaviour: Behaviour) -> list[Metric]:
    """A behaviour's own metric, then the others that its rows have answers for."""
    usable = usable_metrics(behaviour.rows, behaviour.graph.anatomy.d_vocab_out)
    return [behaviour.metric, *(metric for metric in usable if metric.name != behaviour.metric.name)]


def _tests(on: On, verified: Verified, runs: RowValues, shares: _Shares, progress: Progress) -> list[TestResult]:
    behaviour = on(shares.rows)
    tests = tests_of_rows(behaviour.metric, behaviour.rows, runs, verified.seed)
    if verified.edges is None or not verified.edges.any():
        return tests
    if (few := SampledUnits.of(behaviour.rows)).count < FEWEST_UNITS:
        reason = f"{count_of(few.count, few.unit)} {are(few.count)} fewer than the {FEWEST_UNITS} that it needs"
        return tests + [statistics.untestable(name, 0, reason) for name in AGAINST_RANDOM]
    rows = shares.rows_for("random circuits", 0.45, 3 * RANDOM)
    with progress(f"{3 * RANDOM} random circuits", 3 * RANDOM * rows, "prompts") as advance:
        return tests + _against_random(on(rows), verified, -behaviour.metric.sign, advance)


def tests_of_rows(metric: Metric, rows: Sequence[Row], runs: RowValues, seed: int) -> list[TestResult]:
    """Tests of a circuit against the model, row by row; not corrected yet."""
    sign, units = -metric.sign, SampledUnits.of(rows)  # higher is better
    full, circuit, complement = (units.means(sign * values) for values in (runs.full, runs.circuit, runs.complement))
    noise = NOISE * float(np.abs(runs.full.mean() - runs.empty.mean()))
    if metric.flat_at_clean:
        reason = f"{metric.name} measures the distance to the full model, which therefore always scores best"
        tests = [statistics.untestable(name, len(full), reason) for name in ("equivalence", "indistinguishable")]
    else:
        tests = [statistics.equivalence(circuit, full, noise), statistics.indistinguishable(circuit, full, noise)]
    tests.append(statistics.independence(full, complement, seed))
    return [test.of_unit(units.unit) for test in tests]


def _against_random(behaviour: Behaviour, verified: Verified, sign: float, advance: Advance) -> list[TestResult]:
    """Sufficiency and necessity: the circuit among random ones, on the same rows."""
    own, graph = verified.edges, behaviour.graph
    assert own is not None  # asked of circuits of edges alone
    generator = np.random.default_rng(verified.seed)
    sized = np.stack([baselines.of_size(graph, int(own.sum()), generator) for _ in range(RANDOM)])
    busy = np.stack(list(baselines.of_degrees(graph, own, RANDOM, generator)))
    kept = "share of random circuits with a lower mean metric, all else ablated"
    lost = "share of random circuits whose ablation does less harm"
    recovers = "a random circuit {} recovers as much of the behaviour"
    breaks = "ablating a random circuit of the same size does as much harm"
    noise = NOISE * float(np.abs(behaviour.full().mean() - behaviour.empty().mean()))
    score, left = (sign * _means(behaviour, concatenate([verified.ablated, verified.own]), nobody)).tolist()
    tests = []
    for name, drawn, like in (("sufficiency", sized, "of the same size"), ("sufficiency, degrees", busy, DEGREES)):
        values = sign * _means(behaviour, ~drawn, advance)
        tests.append(statistics.outdoes(name, recovers.format(like), score, values.tolist(), kept, noise))
    harm = -sign * _means(behaviour, sized, advance)
    return [*tests, statistics.outdoes("necessity", breaks, -left, harm.tolist(), lost, noise)]


DEGREES = "with as many edges at every component"


def _means(behaviour: Behaviour, removed: Mask | np.ndarray, advance: Advance) -> np.ndarray:
    return behaviour.measure(removed, advance=advance)[0].mean(axis=1)


def groups_of(rows: Sequence[Row], runs: RowValues, seed: int) -> list[Group]:
    """Rows by template; where the task names none, by length, where that varies."""
    named = any(row.group is not None for row in rows)
    keys = [str(row.group) if named else count_of(len(row.clean), "token") for row in rows]
    order = sorted(set(keys), key=lambda key: (len(key), key))
    if len(order) < 2:
        return []
    return [_group(key, rows, np.array([k == key for k in keys]), runs, seed) for key in order]


def _group(name: str, rows: Sequence[Row], of_it: np.ndarray, runs: RowValues, seed: int) -> Group:
    values = (runs.circuit[of_it], runs.full[of_it], runs.empty[of_it])
    accuracy = [None if right is None else float(right[of_it].mean()) for right in (runs.right, runs.right_full)]
    return Group(
        group=name,
        rows=int(of_it.sum()),
        faithfulness=Bootstrap(SampledUnits.of([rows[i] for i in np.flatnonzero(of_it).tolist()]), seed).of(
            recovered, *values
        ),
        accuracy=accuracy[0],
        accuracy_full=accuracy[1],
    )


def failures_of(metric: Metric, rows: Sequence[Row], runs: RowValues) -> list[Failure]:
    """Wrong answers that the full model gets right first, then by how much worse the metric is."""
    worse = metric.sign * (runs.circuit - runs.full)
    wrong = np.zeros(len(worse), dtype=bool) if runs.right is None else (runs.right_full > runs.right)
    noise = NOISE * float(np.abs(runs.full.mean() - runs.empty.mean()))
    order = [i for i in np.lexsort((-worse, ~wrong)).tolist() if wrong[i] or worse[i] > noise][:MOST_FAILURES]
    return [
        Failure(
            row=rows[i].id,
            group=rows[i].group,
            circuit=float(runs.circuit[i]),
            full=float(runs.full[i]),
            wrong=None if runs.right is None else bool(wrong[i]),
        )
        for i in order
    ]
