"""What is to be patched and how: everything that the maps depend on besides the model and the rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from acdc.artefacts.patching import Direction
from acdc.behaviour.behaviour import DEFAULT_BATCH
from acdc.errors import InputError
from acdc.options import DEFAULT_THREADS, MOST_SEED, MOST_THREADS, By, Directions, check_count
from acdc.patching.sites import Site
from acdc.task.metrics import Metric, MetricFunction

_ALONE: dict[Directions, Direction] = {Directions.denoise: "denoise", Directions.noise: "noise"}
MOST_SAMPLES, MOST_LEVEL, WIDEST = 1000, 1000.0, 10


@dataclass(frozen=True)
class PatchSettings:
    """`sites`: what is patched, None for the usual maps. `by`: None takes spans where the task has them.
    `heads_by_place`: heads are patched at each place by itself, not at all positions together.

    Causal tracing: `subject` is the span whose embeddings get noise, in the place of corrupted prompts; `noise` is how
    much of it, in standard deviations, drawn `samples` times; `window`: how many layers of attention and MLP outputs
    are restored together, by default a fifth of the layers and at most ten."""

    sites: tuple[Site, ...] | None = None
    direction: Directions = Directions.denoise
    by: By | None = None
    heads_by_place: bool = False
    subject: str | None = None
    noise: float = 3.0
    samples: int = 10
    window: int | None = None
    metric: str | Metric | MetricFunction | None = None
    limit: int | None = None
    batch_size: int = DEFAULT_BATCH
    seed: int = 0
    threads: int = DEFAULT_THREADS

    def check(self) -> None:
        """Raises InputError for values that no run can use, before any work is done."""
        if self.sites is not None and not self.sites:
            raise InputError("no maps are asked for: name at least one")
        for name, value in self._counts():
            check_count(name, value)
        if self.samples > MOST_SAMPLES:
            raise InputError(f"--samples {self.samples} must be at most {MOST_SAMPLES:,}")
        if not (isfinite(self.noise) and 0 < self.noise <= MOST_LEVEL):
            raise InputError(f"--noise {self.noise} must be above 0 and at most {MOST_LEVEL:g}")
        if not 0 <= self.seed <= MOST_SEED:
            raise InputError(f"--seed {self.seed} must be between 0 and {MOST_SEED}")
        if self.threads > MOST_THREADS:
            raise InputError(f"--threads {self.threads} must be between 1 and {MOST_THREADS}")
        if self.subject is not None and self.direction is not Directions.denoise:
            raise InputError("--subject restores clean values in noisy runs: leave out --direction")
        if self.subject is None and self.window is not None:
            raise InputError("--window goes with --subject")

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Each by itself."""
        return ("denoise", "noise") if self.direction is Directions.both else (_ALONE[self.direction],)

    def _counts(self) -> Iterator[tuple[str, int]]:
        for name in ("limit", "batch_size", "samples", "window", "threads"):
            if (value := getattr(self, name)) is not None:
                yield f"--{name.replace('_', '-')}", value

    def layers_together(self, layers: int) -> int:
        """How many layers of attention and MLP outputs are patched together."""
        if self.subject is None:
            return 1
        return self.window or max(1, min(WIDEST, round(layers / 5)))

    def record(self) -> dict[str, Any]:
        """By name, as a run records them; what only causal tracing uses is left out of others."""
        traced = {"noise": self.noise, "samples": self.samples, "window": self.window} if self.subject else {}
        return {
            "maps": None if self.sites is None else [site.value for site in self.sites],
            "direction": self.direction.value,
            "by": None if self.by is None else self.by.value,
            "heads_by_place": self.heads_by_place,
            "subject": self.subject,
            **traced,
            "metric": self.metric,
            "limit": self.limit,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "threads": self.threads,
        }


def named_sites(names: Sequence[str]) -> tuple[Site, ...]:
    """Sites by name, each once. Raises InputError for another name."""
    for name in names:
        if name not in set(Site):
            raise InputError(f"map {name!r} is not one of {', '.join(Site)}")
    return tuple(dict.fromkeys(map(Site, names)))
