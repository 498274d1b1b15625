"""Compare the circuits of runs of one task in several models."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.universality import CircuitRoles, RolePair, Universality
from acdc.errors import InputError
from acdc.model.load import load_model
from acdc.progress import Progress
from acdc.runs.run_directory import read_run
from acdc.task.load import load_task
from acdc.verification.universality import FLOPS, SHUFFLES, compare_circuits, roles_of
from acdc.words import count_of

FEWEST = 2  # runs that can be compared


def check_runs(runs: Sequence[Path], unrelated: Sequence[Path]) -> str:
    """What comparing the runs takes, in a sentence without its full stop. Raises InputError for runs that are not of
    one task, metric and ablation in several models, and for unrelated ones of that task."""
    if len(runs) < FEWEST:
        raise InputError(f"compare needs at least {FEWEST} runs, of one task in different models")
    circuits = _load(runs)
    first = circuits[0]
    for run, circuit in zip(runs[1:], circuits[1:], strict=True):
        for what, there, here in (
            ("task", circuit.task.name, first.task.name),
            ("metric", circuit.metric, first.metric),
            ("ablation", circuit.ablation, first.ablation),
        ):
            if there != here:
                raise InputError(
                    f"run {run} is of {what} {there!r}, run {runs[0]} of {here!r}: compare takes runs alike"
                )
    for (run, one), (other, two) in combinations(zip(runs, circuits, strict=True), 2):
        if one.model.content_hash == two.model.content_hash:
            raise InputError(f"runs {run} and {other} are of one model: 'acdc diff' compares two circuits of a model")
    for run, circuit in zip(unrelated, _load(unrelated), strict=True):
        if circuit.task.name == first.task.name:
            raise InputError(f"--unrelated {run}: it is of the same task, {first.task.name}; name runs of others")
    count = len(runs) + len(unrelated)
    return (
        f"measuring the components of {count_of(count, 'circuit')}, at most about {FLOPS / 1e12:g} TFLOP each, then "
        f"{SHUFFLES:,} shuffles for each pair"
    )


def compare_runs(
    runs: Sequence[Path], unrelated: Sequence[Path], device: str, seed: int, progress: Progress
) -> Universality:
    """`check_runs` says which runs can be compared. Models are loaded one after the other."""
    with progress("roles", len(runs) + len(unrelated), "circuits") as advance:
        found: list[CircuitRoles] = []
        for run in (*runs, *unrelated):
            circuit, source = Circuit.load(run), read_run(run).source
            model = load_model(source.model, revision=source.revision, device=device, dtype=circuit.dtype)
            found.append(roles_of(str(run), model, load_task(source.task, model), circuit, advance))
    hashes = [circuit.model.content_hash for circuit in _load((*runs, *unrelated))]
    own, others = range(len(runs)), range(len(runs), len(found))
    apart = [(i, j) for i in own for j in others if hashes[i] != hashes[j]]

    def pairs(places: Sequence[tuple[int, int]]) -> list[RolePair]:
        return [compare_circuits(found[i], found[j], seed) for i, j in places]

    return Universality(
        circuits=found[: len(runs)],
        pairs=pairs(list(combinations(own, 2))),
        others=found[len(runs) :],
        unrelated=pairs(apart),
    )


def _load(runs: Sequence[Path]) -> list[Circuit]:
    for run in runs:
        read_run(run)
    return [Circuit.load(run) for run in runs]
