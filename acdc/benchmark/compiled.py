"""Compiled programs as cases: their circuit is known by construction, and confirmed by ablation of every edge."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from acdc.benchmark.case import PreparedCase
from acdc.benchmark.programs.compiler import compile_program
from acdc.benchmark.programs.generator import Recipe, random_program
from acdc.benchmark.programs.library import LIBRARY, NamedProgram, Prompt
from acdc.benchmark.programs.positions import edges_at
from acdc.benchmark.programs.realism import Realism, make_real
from acdc.benchmark.truth import Truth, find_truth
from acdc.errors import InputError
from acdc.files import make_private, write_text
from acdc.graph.units import Units
from acdc.model.load import Model, load_model
from acdc.options import Level
from acdc.task.load import load_task
from acdc.task.rows import Task

ROWS, ROWS_AT_POSITIONS = 48, 24
LONGEST_AT_POSITIONS = 6  # tokens of a prompt, where edges are told apart by position
TRIES = 200  # pairs drawn for each row that is wanted
OPERATIONS = {"random": (3, 9), "redundant": (3, 6)}  # of random programs: from, below
REDUNDANCY = {"random": 0.0, "redundant": 0.5}  # share of heads that are there three times
_RANDOM = re.compile(r"(random|redundant)-(\d+)")
DTYPE = "float64"


@dataclass(frozen=True)
class CompiledCase:
    """A program by name, compiled with some realism, which is called `variant`; `seed` draws rows and realism."""

    suite: str
    program: str
    realism: Realism = Realism()
    ablations: tuple[str, ...] = ("resample",)
    variant: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        return self.program if self.variant is None else f"{self.program}-{self.variant}"

    @property
    def identity(self) -> str:
        return repr(self)

    def prepare(self, folder: Path, device: str, dtype: str | None) -> PreparedCase:
        """The truth is that of the model without any realism, which only adds what does not belong to it."""
        return self.prepare_at(folder, {"device": device, "dtype": dtype or DTYPE}, Level.edges)

    def prepare_at(self, folder: Path, where: dict[str, str], level: Level) -> PreparedCase:
        """The same with the truth of a level; `where`: device and dtype."""
        named = find_program(self.program)
        plain = _load(named, Realism(), self.seed, folder / "plain", where | {"dtype": DTYPE})
        rows = draw_rows(named, self.seed, at_positions=level is Level.positions)
        write_text(folder / "task.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        task = load_task(folder / "task.jsonl", plain)
        truths = {ablation: _truth(named, plain, task, ablation, level) for ablation in self.ablations}
        model = plain
        if self.realism != Realism() or where["dtype"] != DTYPE:
            model = _load(named, self.realism, self.seed, folder / "model", where)
        return PreparedCase(model, task, truths, split_embeddings=True, accuracy=accuracy(model, task))

    @property
    def at_positions(self) -> "CaseAtPositions":
        """The same with edges at single positions, on prompts of one length."""
        return CaseAtPositions(self)


@dataclass(frozen=True)
class CaseAtPositions:
    """A compiled program whose truth says which position reads which."""

    of: CompiledCase

    @property
    def suite(self) -> str:
        return self.of.suite

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def variant(self) -> str:
        return "at positions" if self.of.variant is None else f"{self.of.variant} at positions"

    @property
    def ablations(self) -> tuple[str, ...]:
        return self.of.ablations

    @property
    def identity(self) -> str:
        return repr(self)

    def prepare(self, folder: Path, device: str, dtype: str | None) -> PreparedCase:
        """See `CompiledCase.prepare`."""
        return self.of.prepare_at(folder, {"device": device, "dtype": dtype or DTYPE}, Level.positions)


def find_program(name: str) -> NamedProgram:
    """A program of the library, or a random one: random-SEED, or redundant-SEED with copies of heads in it."""
    if name in LIBRARY:
        return LIBRARY[name]
    if not (found := _RANDOM.fullmatch(name)):
        raise InputError(f"program {name!r} is not one of {', '.join(LIBRARY)}, random-SEED, redundant-SEED")
    kind, seed = found[1], int(found[2])
    operations = int(np.random.default_rng(seed).integers(*OPERATIONS[kind]))
    return random_program(seed, Recipe(operations, REDUNDANCY[kind]), kind)


def draw_rows(named: NamedProgram, seed: int, at_positions: bool = False) -> list[dict]:
    """Rows of a task file: pairs of prompts of one length that call for different answers; `at_positions`: fewer, and
    all of the greatest length for which there are any, up to a limit."""
    prompts = list(named.prompts())
    if not at_positions:
        return _draw(named, prompts, seed, ROWS)
    lengths = sorted({len(prompt) for prompt in prompts if len(prompt) <= LONGEST_AT_POSITIONS}, reverse=True)
    of_length = ([prompt for prompt in prompts if len(prompt) == length] for length in lengths)
    return next(filter(None, (_draw(named, some, seed, ROWS_AT_POSITIONS) for some in of_length)), [])


def _draw(named: NamedProgram, prompts: Sequence[Prompt], seed: int, rows: int) -> list[dict]:
    generator, clean = np.random.default_rng(seed), [prompt for prompt in prompts if named.clean(prompt)]
    corrupted: dict[int, list[Prompt]] = {}
    for prompt in filter(named.corrupted, prompts):
        corrupted.setdefault(len(prompt), []).append(prompt)
    pairs: dict[tuple[Prompt, Prompt], tuple[int, int]] = {}
    for _ in range(rows * TRIES if clean else 0):
        one = clean[generator.integers(len(clean))]
        others = corrupted.get(len(one), [one])
        other = others[generator.integers(len(others))]
        right, wrong = answer(named.expected(one)), answer(named.expected(other))
        if right is not None and wrong is not None and right != wrong:
            pairs[one, other] = right, wrong
        if len(pairs) == rows:
            break
    return [
        {"id": f"{number:02d}", "clean": one, "corrupted": other, "correct": [right], "incorrect": [wrong]}
        for number, ((one, other), (right, wrong)) in enumerate(pairs.items())
    ]


def answer(expected: Sequence[float]) -> int | None:
    """The output's value that has the most weight; None for a tie."""
    best = max(expected)
    return list(expected).index(best) if list(expected).count(best) == 1 else None


def _load(named: NamedProgram, realism: Realism, seed: int, folder: Path, where: dict[str, str]) -> Model:
    make_private(folder)
    make_real(compile_program(named.program), realism, seed).save(folder)
    return load_model(str(folder), device=where["device"], dtype=where["dtype"])


def _truth(named: NamedProgram, model: Model, task: Task, ablation: str, level: Level) -> Truth:
    def along(units: Units) -> frozenset[str]:
        if level is Level.edges:
            return named.program.edges(units.graph)
        return frozenset().union(*(edges_at(named.program, units.graph, row.clean) for row in task.rows))

    return find_truth(model, task, ablation, along, split_embeddings=True, level=level)


def accuracy(model: Model, task: Task) -> float:
    """Share of clean prompts of a task for which a model's likeliest output is the program's, at all answers."""
    right = 0
    for row in task.rows:
        positions = [[answers.position for answers in row.answers]]
        prompt, at = (torch.tensor(part, device=model.device) for part in ([row.clean], positions))
        said = model.executor().run(prompt, at).logits.argmax(-1).tolist()
        right += all(token in answers.correct for token, answers in zip(said, row.answers, strict=True))
    return right / len(task.rows)


def describe(truth: Truth) -> dict:
    """A truth as JSON."""
    return asdict(truth) | {"edges": sorted(truth.edges), "dangling": sorted(truth.dangling)}
