"""Train transformers whose circuit is known: each computes a program of the library along the program's edges alone.

    python experiments/train_known.py --out acdc/benchmark/trained

Strict interchange intervention training (Gupta et al. 2024, arXiv 2407.14494; Geiger et al. 2022, arXiv 2112.00826),
edge by edge: any set of edges may carry the values of another prompt's run, and the model must then say what the
compiled program says with the same edges swapped. Edges that the compiled program does not have must so change
nothing, whether alone or all at once, and those that it has must carry what the program sends along them. The true
circuit is that of the compiled program under resample ablation, fixed before training. Minutes for a model,
on one core.
"""

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from edge_network import EdgeNetwork, Swap
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.programs.compiler import compile_program
from acdc.benchmark.programs.library import LIBRARY, NamedProgram, Prompt
from acdc.files import write_text
from acdc.model.load import load_model
from acdc.model.sources import NATIVE
from acdc.task.metrics import METRICS
from acdc.task.rows import Row, Task

MATTERS = 1e-3  # of what removing everything does: an edge of the compiled program that does less carries nothing
TESTED = 512  # pairs on which what is true of a model is measured


@dataclass(frozen=True)
class Recipe:
    """How a program's model is built and trained; it has at least as many layers as the program needs."""

    layers: int = 2
    normalised: bool = True
    steps: int = 4000
    rows: int = 96
    rate: float = 3e-3


RECIPES = {
    "induction": Recipe(),
    "miniature-ioi": Recipe(layers=3),
    "duplicate": Recipe(),
    "modular-addition": Recipe(normalised=False),
    "brackets": Recipe(layers=3),
}


@dataclass(frozen=True)
class Effects:
    """Mean KL of removing each edge alone, [edges], and all of them."""

    single: np.ndarray
    everything: float


@dataclass(frozen=True)
class Known:
    """What is true of a trained model: the edges that matter by ablation, and measurements on pairs drawn with `seed`.

    Accuracy is the share of clean prompts that it answers right, `accuracy_ablated` with all but the true edges
    removed. KL is the mean of what removing edges does.
    """

    program: str
    seed: int
    pairs: int
    accuracy: float
    accuracy_ablated: float
    kl_of_everything: float
    kl_of_weakest_true_edge: float
    kl_of_strongest_other_edge: float
    kl_of_all_other_edges: float
    truth: dict[str, list[str]]

    @property
    def gap(self) -> float:
        return self.kl_of_weakest_true_edge / self.kl_of_strongest_other_edge


def configure(named: NamedProgram, recipe: Recipe) -> dict:
    """A native model's configuration."""
    program = named.program
    return {
        "architecture": NATIVE,
        "normalization_type": "LNPre" if recipe.normalised else None,
        "positional_embedding_type": "standard",
        "d_model": 32,
        "d_head": 8,
        "n_heads": 4,
        "n_layers": recipe.layers,
        "n_ctx": program.length,
        "d_vocab": program.tokens.size,
        "d_vocab_out": program.output.size,
        "d_mlp": 64,
        "act_fn": "relu",
        "attn_only": False,
        "eps": 1e-5,
        "attention_dir": "causal",
    }


def pair_task(named: NamedProgram, pairs: int, seed: int) -> Task:
    """Pairs of different prompts of one length, clean and corrupted as the program allows."""
    rng, others = random.Random(seed), defaultdict(list)
    every = list(named.prompts())
    for prompt in filter(named.corrupted, every):
        others[len(prompt)].append(prompt)
    clean = [prompt for prompt in every if named.clean(prompt) and others[len(prompt)]]
    rows = []
    while len(rows) < pairs:
        prompt = rng.choice(clean)
        other = rng.choice(others[len(prompt)])
        if other != prompt:
            rows.append(_row(named, len(rows), prompt, other))
    return Task(named.name, tuple(rows), "kl")


def _row(named: NamedProgram, number: int, clean: Prompt, corrupted: Prompt) -> Row:
    """Correct is what the program says the most of."""
    weights = named.expected(clean)
    best = tuple(value for value, weight in enumerate(weights) if weight > max(weights) - 1e-9)
    incorrect = tuple(value for value in range(len(weights)) if value not in best)
    return Row(str(number), clean, corrupted, best, incorrect, len(clean) - 1)


def bind(folder: Path, task: Task) -> Behaviour:
    model = load_model(str(folder), device="cpu", dtype="float64")
    return Behaviour(model, task, range(len(task.rows)), METRICS["kl"], split_embeddings=True)


def effects(behaviour: Behaviour) -> Effects:
    """What single edges do, one after the other, and all together."""
    single = behaviour.measure(np.eye(behaviour.graph.n_edges, dtype=bool))[0].mean(1)
    return Effects(single, float(behaviour.empty().mean()))


def accuracy(behaviour: Behaviour, removed: np.ndarray) -> float:
    """Share of the rows answered right with some edges removed."""
    return float(behaviour.measure(removed[None], [METRICS["accuracy"]]).mean())


@dataclass(frozen=True)
class HighLevel:
    """A compiled program, and the ids of the edges that matter in it under resample ablation."""

    network: EdgeNetwork
    truth: tuple[str, ...]

    @classmethod
    def of(cls, named: NamedProgram, task: Task) -> "HighLevel":
        with tempfile.TemporaryDirectory() as folder:
            compile_program(named.program).save(Path(folder))
            behaviour = bind(Path(folder), task)
            found = effects(behaviour)
            truth = behaviour.graph.ids(found.single > MATTERS * found.everything)
            return cls(EdgeNetwork.load(Path(folder)), tuple(truth))


@dataclass(frozen=True)
class Batch:
    """Prompts [rows, positions] with padding at their ends, and where they end [rows]; row i's other prompt is row
    i + rows / 2."""

    tokens: Tensor
    last: Tensor

    @property
    def other(self) -> Tensor:
        """The places of the rows' other prompts."""
        return torch.arange(len(self.last)).roll(len(self.last) // 2)


class Prompts:
    """All prompts of a program, by their length."""

    def __init__(self, prompts: Iterable[Prompt]):
        self._lengths = defaultdict(list)
        for prompt in prompts:
            self._lengths[len(prompt)].append(prompt)

    @cached_property
    def _weights(self) -> Sequence[float]:
        """Of the lengths: short prompts are few, and would else be seen too rarely."""
        return [len(prompts) ** 0.5 for prompts in self._lengths.values()]

    def draw(self, pairs: int, rng: random.Random) -> Batch:
        same = rng.choices(list(self._lengths.values()), self._weights, k=pairs)
        drawn = [rng.choice(prompts) for _ in range(2) for prompts in same]
        longest = max(map(len, drawn))
        tokens = torch.tensor([(*prompt, *[0] * (longest - len(prompt))) for prompt in drawn])
        return Batch(tokens, torch.tensor([len(prompt) - 1 for prompt in drawn]))


@dataclass(frozen=True)
class Chances:
    """That of some edges one is drawn, all are, or each is with a chance that is drawn itself; else none is."""

    one: float
    all: float
    share: float

    def draw(self, rows: int, edges: Tensor, generator: torch.Generator) -> Tensor:
        """Boolean [rows, edges], for boolean `edges` [edges] that may be drawn."""
        kind, level = torch.rand(2, rows, 1, generator=generator)
        each, order = torch.rand(2, rows, len(edges), generator=generator)
        alone = torch.nn.functional.one_hot((order * edges).argmax(-1), len(edges)).bool()
        shared = (each < level) & (kind < self.one + self.all + self.share)
        return edges & torch.where(kind < self.one, alone, (kind < self.one + self.all) | shared)


OUTSIDE = Chances(one=0.2, all=0.3, share=0.4)
INSIDE = Chances(one=0.2, all=0.0, share=0.3)


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Mean KL of what logits say from what `target` logits do."""
    wanted = target.log_softmax(-1)
    return (wanted.exp() * (wanted - logits.log_softmax(-1))).sum(-1).mean()


class Trainer:
    """A model on its way to computing what a compiled program does, along the same edges."""

    def __init__(self, named: NamedProgram, high: HighLevel, recipe: Recipe, seed: int):
        self.high, self.recipe = high, recipe
        self.low = EdgeNetwork.random(configure(named, recipe), seed)
        self._prompts, self._rng = Prompts(named.prompts()), random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._inside = torch.from_numpy(self.low.graph.mask(high.truth))
        self._shared = torch.tensor([self.low.graph.index[name] for name in high.network.graph.names])

    def train(self) -> EdgeNetwork:
        """Adam with warm-up and cosine decay."""
        steps, parameters = self.recipe.steps, list(self.low.parameters.values())
        optimizer = torch.optim.Adam(parameters, self.recipe.rate, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.recipe.rate, total_steps=steps, pct_start=0.1)
        started = time.perf_counter()
        for step in range(1, steps + 1):
            plain, swapped = self.losses()
            optimizer.zero_grad()
            (plain + swapped).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            if step % 500 == 0:
                seconds = time.perf_counter() - started
                print(f"{step:6} plain {plain:.2e} swapped {swapped:.2e} {seconds:.0f} s", flush=True)
        return self.low

    def losses(self) -> tuple[Tensor, Tensor]:
        """How far the model is from the compiled program on newly drawn prompts, and on these with edges swapped."""
        batch = self._prompts.draw(self.recipe.rows // 2, self._rng)
        removed = self._draw_removed(len(batch.last))
        with torch.no_grad():
            target = self._both(self.high.network, batch, removed[:, self._shared])
        found = self._both(self.low, batch, removed)
        return tuple(divergence(wanted, logits) for wanted, logits in zip(target, found, strict=True))

    def _draw_removed(self, rows: int) -> Tensor:
        """Edges to swap, [rows, edges]: any outside the circuit, and in half of the rows some inside."""
        outside = OUTSIDE.draw(rows, ~self._inside, self._generator)
        return (outside | INSIDE.draw(rows, self._inside, self._generator)).float()

    def _both(self, network: EdgeNetwork, batch: Batch, removed: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of plain runs, and of runs in which removed edges carry what they do for the rows' other prompts."""
        plain = network.run(batch.tokens, batch.last)
        swap = Swap(removed, plain.values[:, batch.other])
        return plain.logits, network.run(batch.tokens, batch.last, swap).logits


def judge(folder: Path, named: NamedProgram, task: Task, truth: Sequence[str], seed: int) -> Known:
    """Measure a saved model by acdc's own executor."""
    behaviour = bind(folder, task)
    found, inside = effects(behaviour), behaviour.graph.mask(truth)
    return Known(
        program=named.name,
        seed=seed,
        pairs=len(task.rows),
        accuracy=accuracy(behaviour, np.zeros_like(inside)),
        accuracy_ablated=accuracy(behaviour, ~inside),
        kl_of_everything=found.everything,
        kl_of_weakest_true_edge=float(found.single[inside].min()),
        kl_of_strongest_other_edge=float(found.single[~inside].max()),
        kl_of_all_other_edges=float(behaviour.measure(~inside[None]).mean()),
        truth={"resample": list(truth)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--programs", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--steps", type=int, help="other than the recipes say")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.programs:
        named, recipe = LIBRARY[name], RECIPES[name]
        recipe = replace(recipe, steps=options.steps or recipe.steps)
        task = pair_task(named, TESTED, options.seed)
        high = HighLevel.of(named, task)
        print(name, *high.truth, flush=True)
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        Trainer(named, high, recipe, options.seed).train().save(folder)
        known = judge(folder, named, task, high.truth, options.seed)
        write_text(folder / "known.json", json.dumps(asdict(known), indent=1) + "\n")
        print(f"{name}: gap {known.gap:.0f}, {known}", flush=True)


if __name__ == "__main__":
    main()
