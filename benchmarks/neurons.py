"""How well scores of hidden neurons agree with ablating each of them alone, on a sample of a model's neurons.

    python benchmarks/neurons.py MODEL [--task ioi] [--rows 2] [--neurons 200] [--ablations resample,zero]

Two samples: neurons drawn at random from all, and those of the largest |score| by eap. Rank correlations (Spearman) of
scores with exact effects, of their sizes, and the share of neurons whose effect has the sign of their score.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else a file beside this one could hide a package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np

from acdc.attribution.verification import spearman
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.threads import fixed_threads
from acdc.graph.units import NeuronUnits
from acdc.model.load import load_model
from acdc.options import Level
from acdc.progress import silent
from acdc.search.discover import bind
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task

SCORES = {
    "eap": ("eap", {}),
    "eap-ig-inputs": ("eap-ig-inputs", {}),
    "eap-ig-activations": ("eap-ig-activations", {}),
    "relp": ("relp", {}),
    "relp --hold-attention": ("relp", {"hold_attention": True}),
}
CHUNK = 32


def scores(behaviour: Behaviour, method: str, options: dict) -> np.ndarray:
    settings = DiscoverySettings(method=METHODS[method], level=Level.neurons, options=options)
    return METHODS[method].run(behaviour, settings.search_options, silent).values


def exact(behaviour: Behaviour, units: NeuronUnits, places: np.ndarray) -> np.ndarray:
    """Effects of ablating each of some units alone, given by their places among all."""
    parts = np.split(places - units.unscored, range(CHUNK, len(places), CHUNK))
    found = [behaviour.measure(units.alone(part))[0].mean(axis=1) for part in parts]
    return np.concatenate(found) - behaviour.full().mean()


def agreement(score: np.ndarray, effect: np.ndarray) -> str:
    told = score != 0
    same = float((np.sign(score) == np.sign(effect))[told].mean()) if told.any() else float("nan")
    ranks = spearman(score.tolist(), effect.tolist()), spearman(np.abs(score).tolist(), np.abs(effect).tolist())
    return " | ".join(f"{value:.2f}" if value is not None else "-" for value in (*ranks, same))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--neurons", type=int, default=200)
    parser.add_argument("--ablations", default="resample,zero")
    parser.add_argument("--scores", default=",".join(SCORES), help="which scores, separated by commas")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model = load_model(options.model)
    task = load_task(Path(options.task) if Path(options.task).exists() else options.task, model)
    wanted = options.scores.split(",")
    print("| ablation | sample | score | correlation | of sizes | same sign |\n|---|---|---|---|---|---|")
    for ablation in options.ablations.split(","):
        settings = DiscoverySettings(method=METHODS["eap"], level=Level.neurons, ablation=ablation, metric="logit_diff")
        with fixed_threads(options.threads):
            behaviour = bind(model, task, settings, range(options.rows))
            units = behaviour.units(Level.neurons)
            assert isinstance(units, NeuronUnits)
            found = {name: scores(behaviour, *how) for name, how in SCORES.items() if name in ("eap", *wanted)}
            neurons = np.flatnonzero(~units.are_heads)[units.always :]
            drawn = np.random.default_rng(0).choice(neurons, options.neurons, replace=False)
            sizes = np.abs(found["eap"][neurons])
            samples = {"random": drawn, "largest by eap": neurons[np.argsort(-sizes, kind="stable")[: options.neurons]]}
            for sample, places in samples.items():
                effect = exact(behaviour, units, places)
                for name, score in found.items():
                    print(f"| {ablation} | {sample} | {name} | {agreement(score[places], effect)} |", flush=True)


if __name__ == "__main__":
    main()
