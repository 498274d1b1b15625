"""Size against faithfulness: circuits of a dictionary's features beside circuits of heads and neurons, and of heads and
MLPs, on the rows that discovery did not see.

    python benchmarks/features.py [--tasks ioi,greater_than,induction] [--limit 64]

Features are ranked by integrated gradients of the bundled dictionary, at all tokens or at single spans; components by
`eap-ig-inputs` (nodes, neurons). All are cut at the same sizes. Resample ablation, the tasks' metrics.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else a file beside this one could hide a package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.dictionaries.dictionary import Dictionary
from acdc.dictionaries.open import open_for
from acdc.execution.threads import fixed_threads
from acdc.feature_circuits.circuits import Circuits, Errors
from acdc.feature_circuits.effects import EffectMethod, node_effects, ranked
from acdc.feature_circuits.runs import FeatureRuns
from acdc.graph.masks import concatenate
from acdc.model.load import Model, load_model
from acdc.options import Level
from acdc.progress import silent
from acdc.search.discover import bind
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task
from acdc.task.metrics import as_metric, recovered_fraction
from acdc.task.rows import Task
from acdc.task.split import split_rows

SIZES = (4, 8, 16, 32, 64, 128, 256, 512)
COMPONENTS = {"heads and MLPs": Level.nodes, "heads and neurons": Level.neurons}


def of_features(
    model: Model, dictionary: Dictionary, task: Task, limit: int, by_position: bool, errors: Errors
) -> tuple[int, list[float | None]]:
    """(candidates, faithfulness on unseen rows at every size)."""
    split, metric = split_rows(task.rows, 0, limit), as_metric(task.metric)
    seen, unseen = (
        FeatureRuns(model, dictionary, task, rows, metric, by_position=by_position)
        for rows in (split.discovery, split.verification)
    )
    effects = node_effects(seen, EffectMethod.ig)
    order = [node for node in ranked(effects) if not node.is_error]
    circuits = Circuits(unseen, errors)
    return len(order), [circuits.faithfulness(order[:size]) if size <= len(order) else None for size in SIZES]


def of_components(model: Model, task: Task, limit: int, level: Level) -> tuple[int, list[float | None]]:
    settings = DiscoverySettings(method=METHODS["eap-ig-inputs"], level=level, limit=limit)
    split = split_rows(task.rows, 0, limit)
    seen, unseen = (bind(model, task, settings, rows) for rows in (split.discovery, split.verification))
    found = METHODS["eap-ig-inputs"].run(seen, settings.search_options, silent)
    assert isinstance(found, Scores)  # a method that scores
    units = unseen.units(level)
    scores = units.of(found.level, found.values).reshape(-1)[units.always :]
    order = np.argsort(-np.abs(scores), kind="stable")
    sizes = [size for size in SIZES if size <= len(order)]
    removed = concatenate([units.ablated(units.first(order[:size])) for size in sizes])
    values = unseen.measure(removed)[0].mean(axis=1)
    full, empty = float(unseen.full().mean()), float(unseen.empty().mean())
    shares = [recovered_fraction(float(value), full, empty) for value in values]
    return len(order), shares + [None] * (len(SIZES) - len(sizes))


def rows(model: Model, dictionary: Dictionary, task: Task, limit: int) -> Iterator[tuple[str, int, list[float | None]]]:
    """(what circuits are of, candidates, faithfulness at every size)."""
    for name, level in COMPONENTS.items():
        yield name, *of_components(model, task, limit, level)
    yield "features", *of_features(model, dictionary, task, limit, False, Errors.keep)
    yield "features, errors ablated", *of_features(model, dictionary, task, limit, False, Errors.remove)
    yield "features at spans", *of_features(model, dictionary, task, limit, True, Errors.keep)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="ioi,greater_than,induction")
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--model", default="trio")
    parser.add_argument("--dictionary", default="trio-transcoders")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model = load_model(options.model)
    dictionary = open_for(Path(options.dictionary), model)
    print(
        f"| task | circuit of | candidates | {' | '.join(map(str, SIZES))} |\n|{'---|' * (3 + len(SIZES))}", flush=True
    )
    with fixed_threads(options.threads):
        for name in options.tasks.split(","):
            for what, count, shares in rows(model, dictionary, load_task(name, model), options.limit):
                cells = " | ".join("" if share is None else f"{share:.0%}" for share in shares)
                print(f"| {name} | {what} | {count:,} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
