"""Train the bundled transcoders of `trio`, and say how well they stand for its MLPs.

    python experiments/train_trio_transcoders.py --out acdc/dictionaries/bundled/trio-transcoders

The prompts are made of the combinations of names, years and words that `train_trio.py` trains on; the figures are of
the combinations that it never sees, and of the bundled tasks. About 4 minutes on one core.
"""

import argparse
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from train_trio import BEHAVIOURS, Combinations, split_combinations

from acdc.cli.progress import bars
from acdc.dictionaries.open import open_for
from acdc.dictionaries.quality import measure_quality
from acdc.dictionaries.replacement import measure_task
from acdc.dictionaries.training.settings import TrainSettings
from acdc.dictionaries.training.train import train_dictionary
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model, load_model
from acdc.task.load import load_task
from acdc.task.prompt_tokenizer import PromptTokenizer

PROMPTS, MEASURED = 12_000, 1_200
SETTINGS = TrainSettings(features=512, active=16, steps=3000)


@dataclass(frozen=True)
class Drawn:
    """Clean and corrupted prompts of the three behaviours, drawn from some combinations. See `Corpus`."""

    model: Model
    combinations: Combinations
    count: int
    seed: int
    name: str = "prompts of trio's behaviours"

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.name} {self.count} {self.seed}".encode()).hexdigest()

    def prompts(self) -> Iterator[tuple[int, ...]]:
        rng, tokenizer = random.Random(self.seed), PromptTokenizer(self.model.tokenizer)
        for number in range(self.count // 2):
            example = self.combinations.draw(BEHAVIOURS[number % len(BEHAVIOURS)], rng)
            yield from map(tuple, tokenizer.encode([example.clean, example.corrupted]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=SETTINGS.steps)
    options = parser.parse_args()
    model = load_model("trio")
    seen, unseen = split_combinations()
    with fixed_threads(1):
        settings = replace(SETTINGS, steps=options.steps)
        train_dictionary(model, Drawn(model, seen, PROMPTS, 1), settings, options.out, progress=bars)
        dictionary = open_for(options.out, model)
        for one in measure_quality(dictionary, model, list(Drawn(model, unseen, MEASURED, 2).prompts())):
            dead = f"{one.dead} of {one.features} dead"
            print(f"{one.writes}: {one.unexplained:.2%} unexplained, L0 {one.l0:.1f}, {dead}")
        for behaviour in BEHAVIOURS:
            kept = measure_task(dictionary, model, load_task(behaviour, model))
            print(f"{behaviour}: accuracy {kept.full:.1%}, with transcoders for MLPs {kept.replaced:.1%}")


if __name__ == "__main__":
    main()
