"""What a discovery is told: the method, its options and the size of the circuit. What does not fit is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from acdc.behaviour.behaviour import DEFAULT_BATCH
from acdc.errors import InputError
from acdc.graph import Anatomy
from acdc.graph.units import kind_of
from acdc.options import DEFAULT_THREADS, MOST_SEED, MOST_THREADS, Choosing, Level, ScoreKind, check_count
from acdc.search.options import BUILT_IN, LATER, SearchOptions, flag
from acdc.search.registry import DEFAULT_METHOD, METHODS, Method
from acdc.task.metrics import Metric, MetricFunction
from acdc.words import did_you_mean

# Operations of a test in a model less wide, with fewer outputs, take less time than waking a second thread.
SMALL_WIDTH, SMALL_OUTPUT = 256, 4096
MOST_RESAMPLES = 1000  # 8 bytes are held for each and each unit: 565 MB for 70,651 edges


@dataclass(frozen=True)
class DiscoverySettings:
    """What a discovery depends on besides the model and the rows.

    One of `threshold`, `edges` and `faithfulness` says how large the circuit becomes: ACDC takes a threshold (its tau,
    in the metric's unit), a hybrid that and the number of `edges` to decide about, other methods any one of the three.
    `choose`: in which order a circuit takes what has scores; `bootstrap`: so many resamples of the rows say whose sign
    is certain and comes first, 0 for none; `hurting`: the share of a signed circuit that hurts. `limit`: discover on
    the first rows instead of a random half. `level` and `direct_edges` (test the within-head edges from attention slots
    to their heads too) go with methods that can.
    `options`: those of the method alone, by name; what is not given has its default."""

    method: Method = DEFAULT_METHOD
    metric: str | Metric | MetricFunction | None = None
    ablation: str = "resample"
    threshold: float | None = None
    edges: int | None = None
    faithfulness: float | None = None
    choose: Choosing = Choosing.top
    bootstrap: int = 0
    hurting: float = 0.0
    limit: int | None = None
    batch_size: int = DEFAULT_BATCH
    split_embeddings: bool = False
    level: Level = Level.edges
    direct_edges: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    threads: int = DEFAULT_THREADS

    def __post_init__(self) -> None:
        """An option that is given its default is as one that is not given."""
        given = {name: x for name, x in self.options.items() if name not in BUILT_IN or x != BUILT_IN[name].default}
        object.__setattr__(self, "options", given)

    def threads_in(self, anatomy: Anatomy) -> int:
        """How many threads the search in a model has: `threads`, but one where it tests single edges of a small model,
        on every machine."""
        small = anatomy.d_model < SMALL_WIDTH and anatomy.d_vocab_out < SMALL_OUTPUT
        return 1 if small and self.method.decides and self.level in (Level.edges, Level.positions) else self.threads

    @property
    def search_options(self) -> SearchOptions:
        """What the method is told. Raises InputError for values of its options that it cannot use."""
        kind = self.method.options
        own = {name: value for name, value in self.options.items() if name in kind.own()}
        shared = {name: getattr(self, name) for name in ("threshold", "edges", "faithfulness", "seed", "level")}
        return kind.of(own, **shared)

    def record(self) -> dict[str, Any]:
        """All settings by name, as runs record them: the method's name; in the place of `options`, those of acdc's own
        methods, with their defaults where the method does not take them, and the others that the method takes."""
        found: dict[str, Any] = {}
        for one in fields(self):
            found |= self._recorded_options() if one.name == "options" else {one.name: getattr(self, one.name)}
        found = {name: value for name, value in found.items() if name not in LATER or value != LATER[name]}
        return found | {"method": self.method.name}

    def _recorded_options(self) -> dict[str, Any]:
        always = {name: option.default for name, option in BUILT_IN.items() if name not in LATER}
        return always | self.search_options.own_values()

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "DiscoverySettings":
        """The settings that are in a record, which may hold more."""
        given = {one.name: record[one.name] for one in fields(cls) if one.name in record}
        kinds = {"choose": Choosing, "level": Level}
        given |= {name: kind(given[name]) for name, kind in kinds.items() if name in given}
        method = METHODS.find(given.pop("method", DEFAULT_METHOD.name))
        return cls(method, **given, options={name: record[name] for name in method.options.own() if name in record})

    def check(self) -> None:
        """Raises InputError for values that no discovery can use, before any work is done."""
        self._check_method()
        self.check_values()
        _ = self.search_options

    def _check_method(self) -> None:
        method = self.method
        self._check_size()
        if self.direct_edges and not method.direct_edges:
            takers = ", ".join(m.name for m in METHODS.values() if m.direct_edges)
            raise InputError(f"--direct-edges works only with {takers}, not with {method.name}")
        for name in self.options.keys() - method.options.own().keys():
            self._check_unread(name)
        if "neurons" in self.options and not kind_of(self.level).have_neurons:
            raise InputError(f"--neurons works only with --level neurons, not with --level {self.level}")
        if self.level not in method.levels:
            takers = ", ".join(m.name for m in METHODS.values() if self.level in m.levels)
            raise InputError(f"--level {self.level} works only with {takers}, not with {method.name}")
        self._check_choosing()

    def _check_choosing(self) -> None:
        method, choose, absolute = self.method, self.choose, self.options.get("absolute", False)
        if choose is Choosing.signed and not method.decides:
            check_signed("importance" if absolute else method.score_kind)
        elif choose is not Choosing.top and (method.decides or not kind_of(self.level).are_edges):
            raise InputError(f"--choose {choose} works only with methods that score edges")
        if self.bootstrap and not method.row_means:
            takers = ", ".join(m.name for m in METHODS.values() if m.row_means)
            raise InputError(f"--bootstrap works only with {takers}, whose scores are means over rows")
        if self.bootstrap and absolute:
            raise InputError("--bootstrap asks for signs that are certain, and scores with --absolute have none")
        if self.bootstrap and choose not in (Choosing.signed, Choosing.paths):
            raise InputError(f"--bootstrap works only with --choose signed or paths: {choose} asks for no sign")

        if self.hurting and choose is not Choosing.signed:
            raise InputError(f"--hurting works only with --choose signed, not with {choose}")

    def _check_unread(self, name: str) -> None:
        """Raises InputError for an option that the method does not take, unless it has its default."""
        takers = _takers(name)
        if all(self.options[name] != taker.options.own()[name].default for taker in takers):
            check_taken(self.method, name)

    def check_values(self) -> None:
        """What does not depend on the method."""
        for name in self.options:
            _takers(name)
        if self.direct_edges and not kind_of(self.level).are_edges:
            raise InputError(
                f"--direct-edges works only with --level edges: a circuit of {self.level} has none inside heads"
            )
        if self.threshold is not None and not 0 < self.threshold < np.inf:
            raise InputError(f"--threshold {self.threshold} must be a positive number")
        if self.faithfulness is not None and not 0 < self.faithfulness <= 1:
            raise InputError(f"--faithfulness {self.faithfulness} must be above 0 and at most 1")
        if not 1 <= self.threads <= MOST_THREADS:
            raise InputError(f"--threads {self.threads} must be between 1 and {MOST_THREADS}")
        for option in ("batch_size", "edges", "limit"):
            value = getattr(self, option)
            if value is not None:
                check_count(flag(option), value)
        if not 0 <= self.bootstrap <= MOST_RESAMPLES:
            raise InputError(f"--bootstrap {self.bootstrap} must be between 0 and {MOST_RESAMPLES}")
        if not 0 <= self.hurting < 1:
            raise InputError(f"--hurting {self.hurting} must be at least 0 and below 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} must not be negative")
        if self.seed > MOST_SEED:
            raise InputError(f"--seed must be at most {MOST_SEED}")

    def check_one_size(self) -> None:
        """Raises InputError where several options say how large a circuit becomes."""
        given = " and ".join(self.sizes)
        if len(self.sizes) > 1:
            raise InputError(f"give only one of --threshold, --edges and --faithfulness, not {given}")

    @property
    def sizes(self) -> list[str]:
        """Which of the options that say how large a circuit becomes are given."""
        return [name for name in ("threshold", "edges", "faithfulness") if getattr(self, name) is not None]

    def _check_size(self) -> None:
        method = self.method
        if not method.decides:
            self.check_one_size()
            return
        takes = {"threshold": True, "edges": method.takes_edges, "faithfulness": method.takes_faithfulness}
        if self.faithfulness is not None and self.threshold is not None:
            self.check_one_size()
        wrong = [name for name in self.sizes if not takes[name]]
        if wrong:
            raise InputError(
                f"method {method.name!r} takes --threshold, not --{wrong[0]}: use exact or eap with --{wrong[0]}"
            )


def check_taken(method: Method, option: str) -> None:
    """Raises InputError for an option that a method does not take, whatever its value."""
    if option not in method.options.own():
        names = ", ".join(taker.name for taker in _takers(option))
        raise InputError(f"{flag(option)} works only with {names}, not with {method.name}")


def _takers(option: str) -> list[Method]:
    """The methods that take an option of their own. Raises InputError where there is none."""
    takers = [method for method in METHODS.values() if option in method.options.own()]
    if not takers:
        known = [one.name for one in fields(DiscoverySettings) if one.name != "options"]
        known += [name for method in METHODS.values() for name in method.options.own()]
        meant = did_you_mean(option, dict.fromkeys(known)) or did_you_mean(option.removeprefix("n_"), known)
        raise InputError(f"no method takes an option {option!r}{meant}")
    return takers


def check_signed(kind: ScoreKind) -> None:
    """Raises InputError for scores that do not say which edges help."""
    if kind == "importance":
        raise InputError("--choose signed needs scores with a sign, and these only rank: use top, greedy or paths")
