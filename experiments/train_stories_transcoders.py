"""Train transcoders for stories260k, or another small language model, on text that the model writes itself.

    python experiments/train_stories_transcoders.py --model PATH --out stories-transcoders

For every layer 1,024 features, of which 32 are active at a token. About 15 minutes on one core.
"""

import argparse
from pathlib import Path

from acdc.cli.progress import bars
from acdc.dictionaries.own_text import OwnText
from acdc.dictionaries.training.settings import TrainSettings
from acdc.dictionaries.training.train import train_dictionary
from acdc.execution.threads import fixed_threads
from acdc.model.load import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--active", type=int, default=32)
    options = parser.parse_args()
    with fixed_threads(1):
        model = load_model(options.model)
        corpus = OwnText(model, options.texts)
        settings = TrainSettings(features=options.features, active=options.active, steps=options.steps)
        trained = train_dictionary(model, corpus, settings, options.out, progress=bars)
    for one in trained.quality:
        dead = f"{one.dead} of {one.features} dead"
        print(f"{one.writes}: {one.unexplained:.2%} unexplained on texts not trained on, L0 {one.l0:.1f}, {dead}")


if __name__ == "__main__":
    main()
