"""How many of something, in words."""

import pytest

from acdc.words import are, count_of, shortened, were


@pytest.mark.parametrize(("count", "said"), [(0, "0 edges"), (1, "1 edge"), (2, "2 edges"), (2000, "2,000 edges")])
def test_one_thing_is_singular(count, said):
    assert count_of(count, "edge") == said


def test_irregular_plurals_and_verbs():
    assert (count_of(1, "match", "matches"), count_of(3, "match", "matches")) == ("1 match", "3 matches")
    assert (were(1), were(2), are(1), are(0)) == ("was", "were", "is", "are")


def test_long_texts_are_cut_off():
    assert shortened("short") == "'short'"
    assert shortened("x" * 41) == f"'{'x' * 37}...'" and shortened("x" * 40) == f"'{'x' * 40}'"
