"""Circuits of a real language model on several tasks, by all quick methods and by ACDC, on rows that no search saw.

    python benchmarks/real.py MODEL [--tasks ioi,...] [--rows 16] [--methods eap,...] [--circuits raw,...] [--seed 0]

Scores come from the first rows of a task, all that is measured from as many others. Each ranking is cut at the shares
of edges that MIB uses (Mueller et al. 2025): the faithfulness of each circuit, CMD and CPR, and the smallest share from
0.9 to 1.1 under resample and under mean ablation, with the KL from the full model and the accuracy there (of the
model's own); "accurate" is the smallest of these with 0.8 of the model's accuracy. The circuits of ACDC follow, each
with the same figures. Seconds and FLOPs are those of the search.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np

from acdc.artefacts.scores import Decisions, Scores
from acdc.artefacts.verification.over_sizes import SHARES
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import AcdcWarning
from acdc.execution.threads import fixed_threads
from acdc.graph.units import EdgeUnits
from acdc.model.load import Model, load_model
from acdc.options import Choosing, ObjectiveKind
from acdc.progress import silent
from acdc.search.choosing import Ranking, helpfulness
from acdc.search.registry import METHODS
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

TASKS = "ioi,gendered_pronoun,subject_verb_agreement,country_capital,greater_than"
ABSOLUTE = " absolute"  # after a method's name
QUICK = ",".join(f"{name},{name}{ABSOLUTE}" for name in ("eap", "eap-ig-inputs", "relp")) + ",ifr"
CHOICES = (Choosing.top, Choosing.signed, Choosing.paths)
LOW, HIGH = 0.9, 1.1
ACCURATE = 0.8  # of the model's accuracy
CIRCUITS = {  # of acdc, by name: the objective and the share of KL
    "raw": (ObjectiveKind.raw, 0.0),
    "match": (ObjectiveKind.match, 0.0),
    "match+kl": (ObjectiveKind.match, 0.5),
}
FAITHFULNESS, SCREEN = 0.95, 0.5


@dataclass(frozen=True)
class Rows:
    """The rows that are searched, and those that are measured under each ablation."""

    searched: Behaviour
    resample: Behaviour
    mean: Behaviour

    @classmethod
    def of(cls, model: Model, name: str, rows: int) -> "Rows":
        task = load_task(name, model)
        metric = METRICS[task.metric or "logit_diff"]
        first, others = range(rows), range(rows, 2 * rows)
        return cls(
            Behaviour(model, task, first, metric),
            Behaviour(model, task, others, metric),
            Behaviour(model, task, others, metric, "mean"),
        )


@dataclass(frozen=True)
class Measured:
    """Of some circuits [circuits]: faithfulness, mean KL from the full model, accuracy as a share of the model's."""

    faithfulness: np.ndarray
    kl: np.ndarray
    accuracy: np.ndarray

    @classmethod
    def of(cls, behaviour: Behaviour, kept: np.ndarray) -> "Measured":
        """Of the circuits `kept`, boolean [circuits, edges]."""
        full, empty = behaviour.ends()
        metrics = [behaviour.metric, METRICS["kl"], METRICS["accuracy"]]
        value, kl, accuracy = behaviour.measure(~kept, metrics).mean(axis=2)
        model = behaviour.plain(metrics)[2].mean()
        return cls((value - empty) / (full - empty), kl, accuracy / model if model else np.full(len(kept), np.nan))

    def smallest(self, accuracy: float = 0.0) -> int | None:
        """The first circuit that is faithful and has at least so much of the model's accuracy."""
        fits = (self.faithfulness >= LOW) & (self.faithfulness <= HIGH) & ~(self.accuracy < accuracy)
        return int(np.flatnonzero(fits)[0]) if fits.any() else None


def rankings(searched: Behaviour, method: str, seed: int) -> Iterator[tuple[str, Ranking]]:
    """The edges by a method's scores, in each way of choosing; by absolute scores of rows where `method` says so."""
    name = method.removesuffix(ABSOLUTE)
    own = {} if name == method else {"absolute": True}
    scores = METHODS[name].run(searched, METHODS[name].options(seed=seed, **own), silent)
    assert isinstance(scores, Scores), f"{method} decides edge by edge and gives no scores"
    units, helps = EdgeUnits(searched.graph), helpfulness(scores.values, scores.kind, searched.metric.sign)
    for choosing in CHOICES if scores.kind != "importance" else CHOICES[:1]:
        yield choosing.value, Ranking(units, scores.values, choosing, helps)


def print_rankings(rows: Rows, task: str, methods: list[str], seed: int) -> None:
    shares = " | ".join(f"{share:.1%}" for share in SHARES)
    print(f"\n{task}\n\n| method | choose | {shares}", end=" | ")
    print("CMD | CPR | smallest | by mean | KL | accuracy | accurate | s | TFLOP |")
    print("|---" * (len(SHARES) + 11) + "|", flush=True)
    for method in methods:
        began, before = time.perf_counter(), rows.searched.work.flops
        for place, (name, ranking) in enumerate(rankings(rows.searched, method, seed)):
            if place == 0:
                cost = f"{time.perf_counter() - began:.0f} | {(rows.searched.work.flops - before) / 1e12:.2f}"
            kept = np.stack([ranking.top(round(share * len(ranking.scores))).edges for share in SHARES])
            found, by_mean = Measured.of(rows.resample, kept), Measured.of(rows.mean, kept)
            cmd, cpr = (float(np.trapezoid(y, SHARES)) for y in (abs(1 - found.faithfulness), found.faithfulness))
            small, values = found.smallest(), " | ".join(f"{x:.2f}" for x in found.faithfulness)
            there = "- | -" if small is None else f"{found.kl[small]:.2f} | {found.accuracy[small]:.2f}"
            print(
                f"| {method} | {name} | {values} | {cmd:.3f} | {cpr:.3f} | {share_of(small)} | "
                f"{share_of(by_mean.smallest())} | {there} | {share_of(found.smallest(ACCURATE))} | {cost} |",
                flush=True,
            )


def share_of(place: int | None) -> str:
    return "none" if place is None else f"{SHARES[place]:.1%}"


def print_circuits(rows: Rows, task: str, names: list[str], seed: int) -> None:
    """ACDC's circuit for each objective, faithful on the rows searched."""
    print(f"\n{task}: acdc --faithfulness {FAITHFULNESS} --screen {SCREEN}\n")
    print("| objective | edges | share | faithfulness | by mean | KL | accuracy | s | TFLOP | notes |")
    print("|---" * 10 + "|", flush=True)
    for name in names:
        kind, kl_share = CIRCUITS[name]
        options = METHODS["acdc"].options(
            faithfulness=FAITHFULNESS, screen=SCREEN, objective=kind, kl_share=kl_share, seed=seed
        )
        began, before = time.perf_counter(), rows.searched.work.flops
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AcdcWarning)
            decisions = METHODS["acdc"].run(rows.searched, options, silent)
        seconds, flops = time.perf_counter() - began, rows.searched.work.flops - before
        assert isinstance(decisions, Decisions)
        kept = rows.searched.graph.prune(decisions.kept)
        found, by_mean = Measured.of(rows.resample, kept[None]), Measured.of(rows.mean, kept[None])
        print(
            f"| {name} | {kept.sum():,} | {kept.mean():.2%} | {found.faithfulness[0]:.2f} | "
            f"{by_mean.faithfulness[0]:.2f} | {found.kl[0]:.2f} | {found.accuracy[0]:.2f} | {seconds:.0f} | "
            f"{flops / 1e12:.1f} | {'; '.join(str(one.message) for one in caught)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--methods", default=QUICK)
    parser.add_argument("--circuits", default=",".join(CIRCUITS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model = load_model(given.model, device="cpu")
    with fixed_threads(2):
        for task in given.tasks.split(","):
            rows = Rows.of(model, task, given.rows)
            print(f"\n{len(rows.searched.graph.edges):,} edges; full model {rows.resample.ends()[0]:.3g}", flush=True)
            if given.methods:
                print_rankings(rows, task, given.methods.split(","), given.seed)
            if given.circuits:
                print_circuits(rows, task, given.circuits.split(","), given.seed)


if __name__ == "__main__":
    main()
