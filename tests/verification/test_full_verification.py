"""What a sceptic is told of circuits that are known: the true one, one with an edge too few, one with edges too many.
Every number against loops over single runs."""

from itertools import combinations

import numpy as np
import pytest
from conftest import thorough_but

import acdc
from acdc.artefacts.verification.minimality import TOLERANCE, MinimalityLevel
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.artefacts.verification.removal import Removal
from acdc.benchmark.compiled import CompiledCase
from acdc.benchmark.programs.library import LIBRARY
from acdc.graph import WriterKind
from acdc.graph.masks import EdgeMask
from acdc.options import Extent
from acdc.progress import silent
from acdc.search.discover import bind, discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS
from acdc.verification import baselines
from acdc.verification.attention import clean_patterns
from acdc.verification.baselines import of_degrees, of_size
from acdc.verification.completeness import measure_completeness
from acdc.verification.faithful import measure_ablations
from acdc.verification.full_verification import Verified, full_verification
from acdc.verification.intervals import Bootstrap, mean
from acdc.verification.mechanism import compose, hint
from acdc.verification.minimality import measure_minimality, minimise
from acdc.verification.removals import without_each
from acdc.verification.verify import verify

CASES = [*LIBRARY, *(f"random-{seed}" for seed in range(40))]
QUICK = ("induction", "brackets", "miniature-ioi", "random-1", "random-3")
FALSE = 5


def nobody(done, note=""):
    pass


class Known:
    """A compiled program's behaviour, its true circuit as boolean [edges], and the range of the metric."""

    def __init__(self, folder, name):
        self.prepared = CompiledCase("test", name).prepare(folder, "cpu", None)
        self.truth = self.prepared.truths["resample"]
        self.behaviour = self.under("resample")
        self.true = self.behaviour.graph.mask(self.truth.edges)
        self.span = abs(float(self.behaviour.full().mean() - self.behaviour.empty().mean()))
        self.bootstrap = Bootstrap(len(self.behaviour.rows), 0)

    def under(self, ablation):
        settings = DiscoverySettings(metric="kl", ablation=ablation, split_embeddings=True)
        return bind(self.prepared.model, self.prepared.task, settings, range(len(self.prepared.task.rows)))

    def faithful(self, kept):
        masks = EdgeMask.one(~kept), EdgeMask.one(kept)
        (found,) = measure_ablations({"resample": self.behaviour}, *masks, [METRICS["kl"]], self.bootstrap, nobody)
        return found

    def minimality(self, kept):
        removals = self.removals(kept)
        return measure_minimality(self.behaviour, kept, removals, True, 0, self.span, nobody)

    def removals(self, kept):
        base, found = self.behaviour.measure(~kept[None])[0, 0], []
        for edges, values in without_each(self.behaviour, kept, np.flatnonzero(kept)):
            for edge, change in zip(edges, values - base, strict=True):
                worse, name = self.bootstrap.of(mean, change), self.behaviour.graph.names[edge]
                found.append(Removal(id=name, change=change.mean(), rows_worse=0.0, hurts=True, worse=worse))
        return found


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    cases = {}

    def make(name):
        if name not in cases:
            cases[name] = Known(tmp_path_factory.mktemp(name), name)
        if cases[name].truth.redundant:
            pytest.skip("redundant: a part of it is enough, which its own tests are about")
        return cases[name]

    return make


@pytest.mark.parametrize("name", thorough_but(QUICK, CASES))
def test_the_true_circuit_passes(known, name):
    case = known(name)
    found, minimal = case.faithful(case.true), case.minimality(case.true)
    assert found.holds and found.denoised.value == pytest.approx(1.0, abs=1e-6)
    assert minimal.level in (MinimalityLevel.local, MinimalityLevel.subset) and minimal.needed == len(minimal.parts)
    if case.true.sum() < len(case.true):
        complete = measure_completeness(case.behaviour, case.true, 0, case.span, case.bootstrap, nobody)
        assert complete.share.value < 0.05


@pytest.mark.parametrize("name", thorough_but(QUICK, CASES))
def test_an_edge_too_few_is_told(known, name):
    """The weakest edge of all: what is recovered is less than everything, for certain."""
    case = known(name)
    effects = [case.faithful(case.true & (np.arange(len(case.true)) != place)) for place in np.flatnonzero(case.true)]
    assert all(effect.denoised.value < 1 - TOLERANCE for effect in effects)
    assert min(effect.denoised.value for effect in effects) < 0.8
    assert not all(effect.holds for effect in effects)


@pytest.mark.parametrize("name", thorough_but(QUICK, CASES))
def test_edges_too_many_are_told_and_removed(known, name):
    case = known(name)
    others = np.flatnonzero(~case.true)
    more = case.true.copy()
    more[np.random.default_rng(0).choice(others, min(FALSE, len(others)), replace=False)] = True
    minimal = case.minimality(more)
    assert minimal.level is MinimalityLevel.quasi
    unneeded = {part.id for part in minimal.parts if not part.needed}
    assert unneeded == set(case.behaviour.graph.ids(more & ~case.true))
    assert (minimise(case.behaviour, more, case.span) == case.true).all()


def test_numbers_are_those_of_loops(known):
    """Each knock-out, each part and each ablation as a run of its own."""
    case = known("induction")
    behaviour, own = case.behaviour, case.true

    def kl(kept):
        return behaviour.measure(~kept[None])[0, 0]

    without = [own & (np.arange(len(own)) != place) for place in np.flatnonzero(own)]
    parts = case.minimality(own).parts
    assert [part.worse.value for part in parts] == pytest.approx([(kl(w) - kl(own)).mean() for w in without])
    found = case.faithful(own)
    empty = behaviour.empty().mean()
    assert found.noised.value == pytest.approx(1 - (kl(~own).mean() - empty) / (0 - empty))
    complete = measure_completeness(behaviour, own, 0, case.span, case.bootstrap, nobody)
    generator, places, differences = np.random.default_rng(0), np.flatnonzero(own), []
    for _ in range(20):
        out = np.zeros_like(own)
        out[places[generator.random(len(places)) < 0.5]] = True
        differences.append(abs((kl(own & ~out) - kl(~out)).mean()))
    for place in generator.choice(places, len(places), replace=False):
        out = np.arange(len(own)) == place
        differences.append(abs((kl(own & ~out) - kl(~out)).mean()))
    assert complete.difference.value == pytest.approx(np.mean(differences), abs=1e-9)


def test_a_subset_is_minimal_where_no_set_of_parts_can_go(known):
    case = known("lookup-composition")
    minimal = case.minimality(case.true)
    assert (
        minimal.level is MinimalityLevel.subset
        and minimal.subsets_tried == 2 ** len(minimal.parts) - len(minimal.parts) - 1
    )
    for size in (2, 3):
        for some in combinations(np.flatnonzero(case.true), size):
            kept = case.true & ~np.isin(np.arange(len(case.true)), some)
            assert case.behaviour.measure(~kept[None])[0, 0].mean() > TOLERANCE * case.span


def test_random_circuits_have_the_size_and_the_degrees(trio):
    graph, generator = trio.graph, np.random.default_rng(0)
    writers, readers = graph.ends
    assert all(of_size(graph, 40, generator).sum() <= 40 for _ in range(5))
    own = of_size(graph, 60, generator)
    mixed = list(of_degrees(graph, own, 5, generator))
    assert len({one.tobytes() for one in (own, *mixed)}) == 6
    for one in mixed:
        assert (np.bincount(writers[one], minlength=99) == np.bincount(writers[own], minlength=99)).all()
        assert (np.bincount(readers[one], minlength=99) == np.bincount(readers[own], minlength=99)).all()


def test_a_circuit_of_random_edges_ranks_anywhere_among_those_of_its_degrees(trio, monkeypatch):
    """However few swaps there are, as none of them is told from the circuit itself: the lowest of ten ranks in a tenth
    of all trials."""
    monkeypatch.setattr(baselines, "SWAPS", 1)
    graph, generator, trials, others = trio.graph, np.random.default_rng(0), 300, 9
    mixing = of_size(graph, 60, generator)
    lowest = 0
    for _ in range(trials):
        for _ in range(12):
            (mixing,) = of_degrees(graph, mixing, 1, generator)
        weights = generator.normal(size=graph.n_edges)
        drawn = [weights[one].sum() for one in of_degrees(graph, mixing, others, generator)]
        lowest += weights[mixing].sum() < min(drawn)
    assert abs(lowest - trials / (others + 1)) < 4 * (trials * 0.1 * 0.9) ** 0.5


def test_the_whole_audit_of_a_true_circuit(known):
    case = known("miniature-ioi")
    rows = len(case.behaviour.rows)
    plan = VerificationPlan(Extent.full, rows, 0, 0, (), rows, 0.0)
    verified = Verified(EdgeMask.one(~case.true), EdgeMask.one(case.true), case.true, 0)

    def on(some, ablation="resample"):
        assert some == rows
        return case.under(ablation)

    found = full_verification(on, plan, case.removals(case.true), verified, silent)
    tests = {test.name: test for test in found.tests}
    assert tests["sufficiency"].rejected and tests["sufficiency"].effect == 1.0
    assert not tests["equivalence"].rejected
    assert {f.ablation for f in found.faithfulness} == {"resample", "zero", "mean", "mean-positional", "optimal"}
    assert "resample" in (found.only_under or ["resample"])
    assert found.minimality.needed == case.true.sum() and found.failures == []


def test_circuits_of_nodes_say_what_was_left_out(trio, induction):
    circuit = acdc.discover(trio, induction, method="eap", level="nodes", edges=60, limit=32).circuit
    report = verify(trio, induction, circuit, extent=Extent.full, progress=silent)
    assert report.full_verification.minimality is None and "minimality" in report.full_verification.left_out
    assert report.full_verification.faithfulness and {test.name for test in report.full_verification.tests} >= {
        "equivalence",
        "independence",
    }


def test_heads_are_told_by_where_they_look(known):
    """The compiled induction heads: what the second finds it finds wherever there is something."""
    case = known("induction")
    heads = [writer for writer in case.behaviour.graph.writers if writer.kind is WriterKind.HEAD]
    previous, induction = hint(case.behaviour, heads, case.bootstrap, nobody)
    assert previous.label == "attends to: previous token" and previous.attention.everywhere["previous token"] > 0.99
    assert induction.label == "attends to: induction" and induction.attention.answer["induction"] == pytest.approx(1.0)
    assert previous.adds.value == pytest.approx(0.0) and induction.adds.value < -1.0, "it lowers the divergence"


def test_attention_to_the_answer_against_a_loop(trio):
    """Of the bundled task of names, where the answer stands in the prompt."""
    task = acdc.load_task("ioi", trio)
    behaviour = bind(trio, task, DiscoverySettings(metric="logit_diff"), range(5))
    heads = [writer for writer in behaviour.graph.writers if writer.kind is WriterKind.HEAD]
    hints = hint(behaviour, heads, Bootstrap(5, 0), nobody)
    shares = np.zeros(len(heads))
    for batch in behaviour.batches:
        for place, head in enumerate(heads):
            patterns = clean_patterns(behaviour, batch, head.layer)[head.head]
            for row, answers, pattern in zip(batch.tokens.tolist(), batch.answers.rows, patterns, strict=True):
                last = answers.answer_position
                seen = [i for i, token in enumerate(row[: last + 1]) if token in answers.correct]
                assert len(seen) == 1
                shares[place] += float(pattern[last, seen[0]]) / 5
    assert [h.attention.answer["answer token"] for h in hints] == pytest.approx(shares.tolist())


def test_heads_compose_by_their_weights(known):
    """The compiled induction head reads all of what the previous-token head writes, at its key and nowhere else."""
    case = known("induction")
    everything = np.ones_like(case.true)
    scores = {found.edge: found.score for found in compose(case.behaviour, everything)}
    assert scores["a0.h0->a1.h0<q>"] == scores["a0.h0->a1.h0<v>"] == 0.0
    assert scores["a0.h0->a1.h0<k>"] > 0.3
    (kept,) = compose(case.behaviour, case.true)
    assert kept.edge == "a0.h0->a1.h0<k>" and kept.usual == pytest.approx(kept.score)


def test_an_empty_circuit_has_no_parts(known):
    case = known("induction")
    nothing = np.zeros_like(case.true)
    assert case.minimality(nothing) is None
    assert not minimise(case.behaviour, nothing, case.span).any()
    assert case.faithful(nothing).denoised.value == pytest.approx(0.0)


def test_discover_is_as_it_was(trio, induction):
    """The quick verification of every discovery has no full verification."""
    settings = DiscoverySettings(method=METHODS["eap"], edges=20, limit=96)
    circuit = discover(trio, induction, settings).circuit
    assert verify(trio, induction, circuit).full_verification is None
