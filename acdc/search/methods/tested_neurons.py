"""Which neurons are tested one by one: a language model has tens of thousands, and each test is a run of the model.

All heads are, and of the neurons as many as are asked for: those that EAP ranks highest, which agrees best with exact
effects of single neurons (`benchmarks/neurons.py`); for a metric whose gradient is zero at the clean prompt, EAP-IG.
"""

import warnings

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import AcdcWarning, InputError
from acdc.graph.units import NeuronUnits, Units
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import eap_ig_inputs
from acdc.search.options import IntegralOptions, SearchOptions, TestingOptions


def number_of_tests(units: Units, options: SearchOptions) -> int:
    """How many candidates are tested: all, but of neurons no more than are asked for."""
    if not isinstance(units, NeuronUnits):
        return units.count
    assert isinstance(options, TestingOptions)  # of a method that tests neurons
    heads = int(units.are_heads.sum())
    return heads + min(options.neurons, units.count - heads)


def ranking(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> tuple[str, np.ndarray]:
    """(the method by which neurons are chosen, sizes of their effects by it [candidates])."""
    told = IntegralOptions.of({}, seed=options.seed, level=Level.neurons)
    name, method = ("eap-ig-inputs", eap_ig_inputs) if behaviour.metric.flat_at_clean else ("eap", eap)
    return name, np.abs(method(behaviour, told, progress).values[behaviour.units(Level.neurons).unscored :])


def tested_candidates(behaviour: Behaviour, units: Units, options: SearchOptions, progress: Progress) -> np.ndarray:
    """Boolean [candidates]; where some neurons are left out, a warning that says so first. Raises InputError where no
    gradient can rank neurons."""
    tests = number_of_tests(units, options)
    if tests == units.count:
        return np.ones(units.count, dtype=bool)
    assert isinstance(units, NeuronUnits)  # of no other unit any is left out
    found = units.are_heads[units.unscored :].copy()
    heads = int(found.sum())
    if behaviour.metric.steps:
        raise InputError(
            f"metric {behaviour.metric.name!r} is a step function, and gradients choose which neurons are tested: "
            f"--neurons {units.count - heads} tests all, or use another metric"
        )
    name, sizes = ranking(behaviour, options, progress)
    sizes[found] = -1.0
    found[np.argsort(-sizes, kind="stable")[: tests - heads]] = True
    warnings.warn(
        f"of {units.count - heads:,} neurons the {tests - heads:,} that {name} ranks highest are tested, and "
        f"{heads:,} heads, on {len(behaviour.rows):,} rows: {tests * len(behaviour.rows):,} runs of a prompt; "
        "--neurons tests more or fewer",
        AcdcWarning,
        stacklevel=2,
    )
    return found
