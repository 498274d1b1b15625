"""What ACDC's trials start and wait for, counted as `benchmarks/launches.py` counts it, in a small fixed model."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.execution import products
from acdc.progress import silent
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.search.methods.eap import eap
from acdc.search.options import RowOptions
from acdc.task.metrics import METRICS

ROOT = Path(__file__).parents[3] / "benchmarks"
A_LAYER, BESIDES = 45, 25  # operations of a trial for each layer that it reaches, and besides


@pytest.fixture(scope="module")
def counting():
    """The benchmark's modules; at the end of the path, as one of them is called acdc. All products are PyTorch's own:
    oneDNN, which takes large ones on some processors, is called in other ways."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(products, "LINEAR", None)
        patched.setattr(sys, "path", [*sys.path, str(ROOT)])
        import launches

        yield launches


def trials(counting, heads: int, rows: int = 4, batch_size: int = 32):
    """Trials of 2, 5 and 9 candidates at each receiver of a random circuit that keeps a third of the edges."""
    import shapes

    model, task = shapes.random_gpt2(3, heads, 8 * heads, 101, 0), shapes.random_task(101, rows, 8, 1)
    behaviour = Behaviour(model, task, range(rows), METRICS["kl"], batch_size=batch_size)
    counted, generator = counting.Launches(), np.random.default_rng(0)
    tester = counting.Watched(behaviour, counted)
    found = []
    with counted.counted():
        for step in receiver_steps(behaviour.graph):
            live = not step.users or any(tester.is_read(writer) for writer, _ in step.users)
            tester.open(step.candidates[: len(step.candidates) * live], step.candidates[len(step.candidates) * live :])
            if live and len(step.candidates) >= 9:
                for count in (9, 2, 5, 9, 2, 5):  # the first of each finds what all of its kind share
                    tester.measure(Pass(step.candidates[:count], tuple(range(1, count + 1))))
                found.append(tester.trials[-3:])
            for candidate in step.candidates if live else ():
                if generator.random() < 1 / 3:
                    tester.keep(int(candidate))
                else:
                    tester.remove(np.array([candidate]))
    return found


@pytest.mark.parametrize("heads", [4, 8])
def test_launches_of_a_trial_follow_the_layers_that_it_reaches(counting, heads):
    """Not the heads, slots or candidates, of which all in a layer are computed at once."""
    of_receivers = trials(counting, heads)
    assert {trial.layers for of_one in of_receivers for trial in of_one} >= {0, 1, 2}
    for of_one in of_receivers:
        assert len({trial.operations for trial in of_one}) == 1, "they depend on the number of candidates"
        for trial in of_one:
            assert trial.operations <= A_LAYER * trial.layers + BESIDES


@pytest.mark.parametrize("batch_size", [32, 2])
def test_a_trial_waits_once(counting, batch_size):
    """For the values of its candidates, of however many batches of rows; never on the way there."""
    for of_one in trials(counting, heads=4, batch_size=batch_size):
        assert [trial.waits for trial in of_one] == [1, 1, 1]


def test_waits_are_seen(counting):
    """Each kind by itself: a count that misses one would say that there is none."""
    x, mask = torch.arange(4.0), np.array([True, False, True, True])
    kinds = {
        "item": lambda: x.sum().item(),
        "truth": lambda: bool(x.all()),
        "tolist": x.tolist,
        "nonzero": x.nonzero,
        "boolean mask": lambda: x[x > 1],
        "copy to the host": lambda: x.cpu().numpy(),
        "list of indices": lambda: x[[0, 2]],
        "array as index": lambda: x[np.array([0, 2])],
        "array": lambda: torch.from_numpy(mask).to(x),
        "tensor of numbers": lambda: torch.tensor([1, 2]),
    }
    for kind, work in kinds.items():
        counted = counting.Launches()
        with counted.counted():
            work()
        assert counted.now[1] == 1, kind
    counted = counting.Launches()
    with counted.counted():
        torch.from_numpy(mask).to(x.device, non_blocking=True)
        x[1:].view(3, 1).expand(3, 2)
    assert counted.now.tolist() == [1, 0]


def test_counting_changes_no_number(counting, trio, induction):
    behaviour = Behaviour(trio, induction, range(4), METRICS["logit_diff"])
    plain = eap(behaviour, RowOptions(), silent).values
    with counting.Launches().counted():
        counted = eap(behaviour, RowOptions(), silent).values
    assert counted.tobytes() == plain.tobytes()
