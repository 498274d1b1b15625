"""How many threads a search has, and what is recorded of that."""

from dataclasses import replace

import pytest
import torch

from acdc.execution.threads import fixed_threads
from acdc.options import Level
from acdc.progress import silent
from acdc.runs.discovery import run_discovery
from acdc.runs.spec import DiscoveryJob
from acdc.search import discover as discovering
from acdc.search.discover import discover
from acdc.search.registry import METHODS
from acdc.search.settings import SMALL_OUTPUT, SMALL_WIDTH, DiscoverySettings

SETTINGS = DiscoverySettings(METHODS["acdc"], limit=4, threshold=1.0, threads=2)
SCORING = DiscoverySettings(METHODS["eap"], limit=4, edges=20, threads=2)


def test_tests_of_small_models_have_one(trio):
    small = trio.anatomy
    wide, many = replace(small, d_model=SMALL_WIDTH), replace(small, d_vocab_out=SMALL_OUTPUT)
    assert small.d_model < SMALL_WIDTH and small.d_vocab_out < SMALL_OUTPUT
    assert SETTINGS.threads_in(small) == replace(SETTINGS, level=Level.positions).threads_in(small) == 1
    assert SETTINGS.threads_in(wide) == SETTINGS.threads_in(many) == 2
    assert replace(SETTINGS, level=Level.nodes).threads_in(small) == 2, "runs of whole subgraphs are wide"
    assert SCORING.threads_in(small) == 2


@pytest.mark.parametrize(("settings", "expected"), [(SETTINGS, 1), (SCORING, 2)], ids=["acdc", "eap"])
def test_the_search_has_as_many_as_are_recorded(trio, induction, monkeypatch, settings, expected):
    seen, bound = [], discovering.bind

    def bind(*given, **options):
        seen.append(torch.get_num_threads())
        return bound(*given, **options)

    monkeypatch.setattr(discovering, "bind", bind)
    with fixed_threads(3):
        found = discover(trio, induction, settings)
        assert torch.get_num_threads() == 3
    assert seen == [expected] == [found.circuit.batch.threads]


def test_a_run_of_an_earlier_version_is_one_of_the_same_inputs(tmp_path, monkeypatch):
    job = DiscoveryJob("trio", "induction", SETTINGS, verify="none")
    with monkeypatch.context() as earlier:
        earlier.setattr(DiscoverySettings, "threads_in", lambda settings, anatomy: settings.threads)
        first = run_discovery(job, tmp_path / "run", silent)
    before = (tmp_path / "run/circuit.json").read_bytes()
    assert first.circuit.batch.threads == 2
    again = run_discovery(job, tmp_path / "run", silent)
    assert again.circuit.batch.threads == 2 and (tmp_path / "run/circuit.json").read_bytes() == before
