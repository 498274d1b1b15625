"""Where a unit is active: a corpus is gone through once, of which a number per prompt is kept and activations alone;
then the prompts that are shown are run again.

Examples are the prompts of the largest activations, and prompts drawn by a seed from equal intervals between none and
the largest: what is active a little is often something else (Bricken et al. 2023).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from acdc.dictionaries.corpus import Corpus
from acdc.dictionaries.quality import batches
from acdc.errors import InputError
from acdc.explanation.units import Unit
from acdc.model.load import Model
from acdc.options import INTERVALS
from acdc.progress import Progress, silent

TOP, PER_INTERVAL, BINS = 10, 4, 40
BATCH = 32


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt, the activation at each, and the position of the largest, or smallest."""

    tokens: tuple[int, ...]
    activations: tuple[float, ...]
    at: int


@dataclass(frozen=True)
class Group:
    """Examples of one quantile, the strongest first."""

    name: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Examples:
    """`frequency`: share of tokens where the unit is active (its activation is not 0; of neurons, is above 0). The
    `histogram` counts active tokens between `edges`; first tokens are left out as in `acdc.dictionaries.quality`."""

    corpus: str
    prompts: int
    tokens: int
    frequency: float
    smallest: float
    largest: float
    quantiles: tuple[tuple[float, float], ...]
    histogram: tuple[int, ...]
    edges: tuple[float, ...]
    groups: tuple[Group, ...]


def collect(
    unit: Unit, model: Model, corpus: Corpus, most_tokens: int, seed: int = 0, progress: Progress = silent
) -> Examples:
    """On the first so many tokens of a corpus. Raises InputError for one without prompts of two tokens."""
    highest, lowest, values, tokens = _survey(unit, model, corpus, most_tokens, progress)
    if not len(highest):
        raise InputError(f"{corpus.name} holds no prompts of two tokens: nothing can be active in them")
    active = values[values > 0] if unit.kind == "neuron" else values[values != 0]
    smallest, largest = float(lowest.min()), float(highest.max())
    chosen = _chosen(highest, lowest, largest, smallest, seed)
    wanted = sorted({number for _, numbers, _ in chosen for number in numbers})
    shown = _run(unit, model, _pick(corpus, wanted))
    groups = tuple(
        Group(name, tuple(_example(*shown[number], lowest_first) for number in numbers))
        for name, numbers, lowest_first in chosen
        if numbers
    )
    counts, edges = np.histogram(active, BINS) if len(active) else (np.zeros(0, dtype=int), np.zeros(0))
    shares = (0.5, 0.9, 0.99, 0.999)
    quantiles = tuple(zip(shares, np.quantile(active, shares).tolist(), strict=True)) if len(active) else ()
    return Examples(
        corpus.name,
        len(highest),
        tokens,
        len(active) / max(1, tokens),
        smallest,
        largest,
        quantiles,
        tuple(counts.tolist()),
        tuple(edges.tolist()),
        groups,
    )


def limited(corpus: Corpus, most_tokens: int) -> Iterator[tuple[int, ...]]:
    total = 0
    for prompt in corpus.prompts():
        if total >= most_tokens:
            return
        if len(prompt) > 1:
            total += len(prompt) - 1
            yield prompt


@torch.no_grad()
def _survey(
    unit: Unit, model: Model, corpus: Corpus, most_tokens: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(largest and smallest activation of each prompt, all that are not 0, tokens)."""
    highest, lowest, values, tokens = list[float](), list[float](), list[np.ndarray](), 0
    with progress("reading", most_tokens, "tokens") as advance:
        for some in batched(limited(corpus, most_tokens)):
            for ids, there in batches(model, some, BATCH):
                there = there.clone()
                there[:, 0] = False
                found = unit.activations(ids)
                highest += found.masked_fill(~there, -torch.inf).amax(1).tolist()
                lowest += found.masked_fill(~there, torch.inf).amin(1).tolist()
                kept = found[there]
                values.append(kept[kept != 0].double().cpu().numpy())
                tokens += int(there.sum())
                advance(float(there.sum()))
    return np.array(highest), np.array(lowest), np.concatenate(values) if values else np.zeros(0), tokens


def batched(prompts: Iterable[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    held = list[tuple[int, ...]]()
    for prompt in prompts:
        held.append(prompt)
        if len(held) == BATCH:
            yield held
            held = []
    if held:
        yield held


def _chosen(
    highest: np.ndarray, lowest: np.ndarray, largest: float, smallest: float, seed: int
) -> list[tuple[str, list[int], bool]]:
    """(name, numbers of prompts, whether their smallest activation is meant) of every group."""
    order = np.argsort(-highest, kind="stable")
    top = [int(number) for number in order[:TOP] if highest[number] > 0]
    found = [("Top Activations", top, False)]
    generator = np.random.default_rng(seed)
    bounds = np.linspace(largest, 0.0, INTERVALS + 1)
    for place, (above, below) in enumerate(zip(bounds, bounds[1:], strict=False)):
        inside = np.flatnonzero((highest <= above) & (highest > below))
        inside = inside[~np.isin(inside, top)]
        drawn = generator.permutation(inside)[:PER_INTERVAL]
        numbers = sorted(map(int, drawn), key=lambda number: -highest[number])
        found.append((f"Subsample Interval {place}", numbers, False))
    if smallest < -0.1 * largest:
        bottom = [int(number) for number in np.argsort(lowest, kind="stable")[:TOP] if lowest[number] < 0]
        found.append(("Bottom Activations", bottom, True))
    return found


def _pick(corpus: Corpus, numbers: Sequence[int]) -> dict[int, tuple[int, ...]]:
    wanted, found = set(numbers), dict[int, tuple[int, ...]]()
    for number, prompt in enumerate(one for one in corpus.prompts() if len(one) > 1):
        if number in wanted:
            found[number] = prompt
            if len(found) == len(wanted):
                break
    return found


@torch.no_grad()
def _run(
    unit: Unit, model: Model, prompts: dict[int, tuple[int, ...]]
) -> dict[int, tuple[tuple[int, ...], list[float]]]:
    found = {}
    for number, prompt in prompts.items():
        ids = torch.tensor([prompt], device=model.device)
        found[number] = (prompt, unit.activations(ids)[0].double().tolist())
    return found


def _example(prompt: tuple[int, ...], activations: list[float], smallest: bool) -> Example:
    inner = activations[1:]
    best = (min if smallest else max)(range(len(inner)), key=inner.__getitem__)
    return Example(prompt, tuple(activations), best + 1)
