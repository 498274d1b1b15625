"""How well edges were found, given those that are the circuit: at one size, and over all of them.

What ranks alike is taken together, and between two points of a curve the worse one holds (the pessimistic staircase of
Conmy et al. 2023, arXiv 2304.14997): ties win nothing, and an edge that a method does not name comes last.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from acdc.artefacts.verification.interval import Interval
from acdc.verification.intervals import Bootstrap, mean


@dataclass(frozen=True)
class Agreement:
    """Of what was found against what is true; 0 where nothing was found, or nothing of it is true."""

    precision: float
    recall: float

    @classmethod
    def of(cls, found: Collection[str], true: Collection[str]) -> "Agreement":
        both = len(set(found) & set(true))
        return cls(both / len(found) if found else 0.0, both / len(true) if true else 0.0)

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True)
class Staircase:
    """True and false positives as the threshold falls, one point for each size that occurs: integers [points], from
    none to all."""

    hits: np.ndarray
    false: np.ndarray

    @classmethod
    def of(cls, sizes: np.ndarray, true: np.ndarray) -> "Staircase":
        """`sizes` [edges], at least 0, of which the largest come first; `true` boolean [edges]."""
        order = np.argsort(-sizes, kind="stable")
        last = np.append(np.diff(sizes[order]) != 0, True)  # of those that rank alike
        hits = np.cumsum(true[order])[last]
        false = np.cumsum(~true[order])[last]
        return cls(np.concatenate([[0], hits]), np.concatenate([[0], false]))

    @property
    def roc(self) -> list[tuple[float, float]]:
        """(false positive rate, true positive rate) at each point; empty where all edges are true, or none is."""
        if not (self.hits[-1] and self.false[-1]):
            return []
        return list(zip((self.false / self.false[-1]).tolist(), (self.hits / self.hits[-1]).tolist(), strict=True))

    @property
    def auroc(self) -> float | None:
        """Area under the lower staircase; None where there is no curve."""
        roc = self.roc
        steps = zip(roc, roc[1:], strict=False)
        return sum((right[0] - left[0]) * left[1] for left, right in steps) if roc else None

    @property
    def auprc(self) -> float | None:
        """Average precision: each true edge counts with the precision where it and all its like are in; None where no
        edge is true."""
        if not self.hits[-1]:
            return None
        gained = np.diff(self.hits)
        precision = self.hits[1:] / (self.hits[1:] + self.false[1:])
        return float((gained * precision).sum() / self.hits[-1])


def widest_gap(sizes: np.ndarray, smallest: float = 1e-6) -> float | None:
    """A threshold in the widest gap, by ratio, between sizes that follow each other; None where all are 0.

    Whatever is less than `smallest` times the largest counts as that. The threshold is the geometric mean of both ends
    of the gap. Where all sizes are alike there is no gap, and the threshold is below them.
    """
    largest = float(sizes.max(initial=0.0))
    if largest <= 0:
        return None
    levels = np.unique(np.log(np.maximum(sizes / largest, smallest)))
    if len(levels) == 1:
        return largest / 2
    at = int(np.diff(levels).argmax())
    return largest * float(np.exp((levels[at] + levels[at + 1]) / 2))


def mean_over_models(values: Sequence[float], seed: int = 0) -> Interval | None:
    """A bootstrap interval over models, of which every one counts the same, however many edges it has; None without
    any."""
    if not values:
        return None
    return Bootstrap(len(values), seed).of(mean, np.array(values, dtype=float))
