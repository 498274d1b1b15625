"""Methods are declared without importing what they compute with."""

import re
from copy import copy
from pathlib import Path
from pkgutil import resolve_name

import pytest

from acdc.errors import InputError
from acdc.search import registry
from acdc.search.acdc.acdc_tests import AcdcTests
from acdc.search.registry import METHODS, Method


def test_every_deferred_function_exists():
    places = re.findall(r'deferred\("(.+?)"\)', Path(registry.__file__).read_text())
    assert len(places) > len(METHODS.built_in) and all(callable(resolve_name(place)) for place in places)


def test_every_method_of_acdc_declares_its_cost():
    assert all(method.cost for method in METHODS.built_in.values())


@pytest.mark.parametrize("name", METHODS.built_in)
def test_a_worker_is_sent_the_name(name):
    """A copy is made as a worker makes it."""
    assert METHODS[name].__reduce__()[1] == (name,) and copy(METHODS[name]) is METHODS[name]


def test_tests_need_an_order_of_senders():
    with pytest.raises(InputError, match="'theirs' tests edges as acdc does: its options must be OrderOptions"):
        Method("theirs", METHODS["random"].run, "", tests=AcdcTests())
