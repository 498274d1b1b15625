"""Generated examples mean what they say."""

import random
import re

import pytest

from acdc.task.generators import (
    country_capital,
    docstring,
    gendered_pronoun,
    greater_than,
    induction,
    ioi,
    subject_verb_agreement,
)
from acdc.task.generators.corpus import FEMALE_NAMES, MALE_NAMES, NAMES
from acdc.task.generators.draw import in_turn


def test_docstring_examples_mean_what_they_say():
    for e in docstring.generate(40, seed=3):
        (answer,) = e.correct
        defined = re.search(r"\(self, (.*)\)", e.clean)[1].split(", ")
        described = re.findall(r":param (\w+):", e.clean)
        assert defined[:2] == described and defined[2] == answer
        assert set(e.incorrect) == set(defined) - {answer}
        assert not set(defined) & set(re.findall(r"\w+", e.corrupted))
        listed = re.findall(r":param (\w+):", e.corrupted)
        assert len(listed) == 2 and all(e.corrupted.count(word) == 1 for word in listed)


def test_ioi_examples_mean_what_they_say():
    for e in ioi.generate(40, seed=3):
        words = e.clean.replace(",", " ").split()
        (io,), (s,) = e.correct, e.incorrect
        assert (words.count(io), words.count(s)) == (1, 2)
        assert not {io, s} & set(e.corrupted.replace(",", " ").split())


def test_induction_examples_mean_what_they_say():
    for e in induction.generate(40, seed=3):
        for prompt, answer, other in ((e.clean, e.correct, e.incorrect), (e.corrupted, e.incorrect, e.correct)):
            words = prompt.split()
            place = words.index(words[-1])
            assert place < len(words) - 1
            assert (words[place + 1],) == answer != other


def test_greater_than_examples_mean_what_they_say():
    for e in greater_than.generate(40, seed=3):
        start = int(e.clean.split("year ")[1][2:4])
        assert min(map(int, e.correct)) == start + 1
        assert max(map(int, e.incorrect)) == start
        assert len(e.correct) + len(e.incorrect) == 100


def differences(e) -> list[tuple[str, str]]:
    """Words in which the two prompts differ."""
    clean, corrupted = re.findall(r"[\w']+", e.clean), re.findall(r"[\w']+", e.corrupted)
    return [pair for pair in zip(clean, corrupted, strict=True) if pair[0] != pair[1]]


def test_agreement_examples_mean_what_they_say():
    """One word differs, the subject, and its number is that of the verb; the other noun's is in the group's name."""
    number = {word: i for pair in subject_verb_agreement.SUBJECTS for i, word in enumerate(pair)}
    other = {word: i for pair in subject_verb_agreement.NOUNS for i, word in enumerate(pair)}
    assert not set(number) & set(other)
    for e in subject_verb_agreement.generate(96, seed=3):
        ((subject, exchanged),) = differences(e)
        assert number[subject] != number[exchanged] and subject in e.clean.split()
        assert (*e.correct, *e.incorrect) == (("is", "are") if number[subject] == 0 else ("are", "is"))
        agrees = number[subject] == other[e.clean.split()[-1]]
        assert e.group.endswith("same" if agrees else "other")


def test_pronoun_examples_mean_what_they_say():
    """One word differs, the name, and the pronoun is that of the clean one."""
    assert not set(FEMALE_NAMES) & set(MALE_NAMES)
    pronoun = dict.fromkeys(FEMALE_NAMES, "she") | dict.fromkeys(MALE_NAMES, "he")
    for e in gendered_pronoun.generate(64, seed=3):
        ((name, exchanged),) = differences(e)
        assert (e.correct, e.incorrect) == ((pronoun[name],), (pronoun[exchanged],))
        assert e.correct != e.incorrect
        assert e.clean == gendered_pronoun.TEMPLATES[e.group].format(name=name)


def test_capital_examples_mean_what_they_say():
    """One word differs, the country; no two countries share a capital."""
    capital = dict(country_capital.CAPITALS)
    assert len(set(capital.values())) == len(country_capital.CAPITALS)
    for e in country_capital.generate(100, seed=3):
        ((country, other),) = differences(e)
        assert (e.correct, e.incorrect) == ((capital[country],), (capital[other],))
        assert e.clean == country_capital.TEMPLATES[e.group].format(country=country)


@pytest.mark.parametrize("generator", [subject_verb_agreement, gendered_pronoun, country_capital])
def test_no_row_is_repeated(generator):
    rows = generator.generate(128, seed=3)
    assert len({e.clean for e in rows}) == 128
    assert rows == generator.generate(128, seed=3) != generator.generate(128, seed=4)


def test_pairs_are_drawn_in_turn():
    pairs = in_turn("ab", [range(3), range(3, 9)], 5, random.Random(0))
    assert [group for group, _ in pairs] == list("ababa")
    assert len(set(pairs)) == 5 and all((member < 3) == (group == "a") for group, member in pairs)


def test_names_alternate():
    """The order of the names decides the rows that artefacts record."""
    assert NAMES[:4] == ("Mary", "John", "Anna", "Paul") and len(NAMES) == len(FEMALE_NAMES) + len(MALE_NAMES)
