"""The suites by name. A case of one's own goes into another package, with an entry point in the group `acdc.suites`.

What makes the cases is imported when a suite is used: listing suites needs no torch.
"""

from collections.abc import Sequence
from pathlib import Path

from acdc.benchmark.case import Case, Suite
from acdc.extensions import Registry

ABLATIONS = ("resample", "zero", "mean")
RANDOM, REDUNDANT, REALISTIC = 220, 30, 220  # random programs in a suite


def _compiled(data: Path | None) -> Sequence[Case]:
    from acdc.benchmark.compiled import CompiledCase
    from acdc.benchmark.programs.library import LIBRARY

    return [CompiledCase("compiled", name, ablations=ABLATIONS) for name in LIBRARY]


def _random(data: Path | None) -> Sequence[Case]:
    from acdc.benchmark.compiled import CompiledCase

    names = [*(f"random-{seed}" for seed in range(RANDOM)), *(f"redundant-{seed}" for seed in range(REDUNDANT))]
    return [CompiledCase("random", name) for name in names]


def _realism(data: Path | None) -> Sequence[Case]:
    from acdc.benchmark.compiled import CompiledCase
    from acdc.benchmark.programs.library import LIBRARY
    from acdc.benchmark.programs.realism import KNOBS

    names = [*LIBRARY, *(f"random-{seed}" for seed in range(REALISTIC))]
    return [CompiledCase("realism", name, knob, variant=called) for called, knob in KNOBS.items() for name in names]


def _published(data: Path | None) -> Sequence[Case]:
    from acdc.benchmark.published import PUBLISHED, PublishedCase

    return [PublishedCase(name, str(data) if data else None) for name in PUBLISHED]


def _trained(data: Path | None) -> Sequence[Case]:
    from acdc.benchmark.trained_cases import trained_cases

    return trained_cases(data)


def _stories(data: Path | None) -> Sequence[Case]:
    from acdc.benchmark.stories import story_cases

    return story_cases(data)


SUITES = Registry(
    "suite",
    "acdc.suites",
    Suite,
    (
        Suite("compiled", "programs compiled to weights: the circuit is known by construction", _compiled),
        Suite("random", "random programs compiled to weights", _random),
        Suite("realism", "compiled programs with rotation, distractors, noise, superposition, LayerNorm", _realism),
        Suite("trained", "small models trained to implement the circuit of a program", _trained),
        Suite("published", "circuits from the literature, if the weights are available", _published),
        Suite("stories", "a language model from --data: faithfulness only, because no true circuit is known", _stories),
    ),
)
