"""Programs by name, each with what it should compute, written down a second time in plain Python.

A prompt begins with token 0, which means nothing else; what the last position says counts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from acdc.benchmark.programs.language import Head, Lookup, Match, Operation, Program, Steps, Variable

Prompt = tuple[int, ...]
BOS = 0
LONGEST = 6  # letters of a prompt
LETTERS = 3


@dataclass(frozen=True)
class NamedProgram:
    """A program, its prompts, what it should say of each (weights of the output's values) and what it shows.

    `clean` and `corrupted` say which prompts may be which in pairs, where not all may.
    """

    program: Program
    summary: str
    prompts: Callable[[], Iterator[Prompt]]
    expected: Callable[[Prompt], Sequence[float]]
    clean: Callable[[Prompt], bool] = lambda prompt: True
    corrupted: Callable[[Prompt], bool] = lambda prompt: True

    @property
    def name(self) -> str:
        return self.program.name


def _strings(letters: Sequence[int], shortest: int = 1, longest: int = LONGEST) -> Iterator[Prompt]:
    """All strings of letters, after the first token."""
    for length in range(shortest, longest + 1):
        yield from ((BOS, *string) for string in product(letters, repeat=length))


def _one(value: int, size: int) -> list[float]:
    return [float(i == value) for i in range(size)]


def _mean(values: Sequence[int], size: int) -> list[float]:
    return [values.count(i) / len(values) for i in range(size)]


def _given(vocabulary: int, length: int) -> tuple[Variable, Variable]:
    return Variable("tokens", vocabulary), Variable("positions", length)


def _at(query: Variable, offset: int) -> Match:
    """The position so many before the one that the query is; the first, where there is none."""
    return Match.where(query, query, lambda here, there: there == max(here - offset, 0))


def _same(query: Variable, key: Variable) -> Match:
    return Match.where(query, key, lambda a, b: a == b)


def _fixed(positions: Variable, place: int) -> Match:
    """One position, whoever asks."""
    return Match.where(positions, positions, lambda here, there: there == place)


def _program(name: str, tokens: Variable, positions: Variable, *operations: Operation) -> Program:
    """A program whose last operation writes the output."""
    return Program(name, tokens, positions, operations, operations[-1].writes)


def previous_token() -> NamedProgram:
    tokens, positions = _given(LETTERS + 1, LONGEST + 1)
    copied = Head(Variable("previous", tokens.size), tokens, (_at(positions, 1),))
    return NamedProgram(
        _program("previous-token", tokens, positions, copied),
        "the token before the last",
        lambda: _strings(range(1, LETTERS + 1)),
        lambda prompt: _one(prompt[-2], LETTERS + 1),
    )


def two_back() -> NamedProgram:
    tokens, positions = _given(LETTERS + 1, LONGEST + 1)
    before = Variable("previous", tokens.size)
    first = Head(before, tokens, (_at(positions, 1),))
    second = Head(Variable("two back", tokens.size), before, (_at(positions, 1),))
    return NamedProgram(
        _program("two-back", tokens, positions, first, second),
        "the token two before the last, by two heads in a row",
        lambda: _strings(range(1, LETTERS + 1), shortest=2),
        lambda prompt: _one(prompt[-3], LETTERS + 1),
    )


def induction() -> NamedProgram:
    tokens, positions = _given(LETTERS + 1, LONGEST + 1)
    before = Variable("previous", tokens.size)
    first = Head(before, tokens, (_at(positions, 1),))
    second = Head(Variable("next", tokens.size), tokens, (_same(tokens, before),))

    def expected(prompt: Prompt) -> list[float]:
        after = [prompt[i] for i in range(1, len(prompt)) if prompt[i - 1] == prompt[-1]]
        return _mean(after or list(prompt), tokens.size)

    return NamedProgram(
        _program("induction", tokens, positions, first, second),
        "what came after earlier occurrences of the last token, on average",
        lambda: _strings(range(1, LETTERS + 1)),
        expected,
        clean=lambda prompt: prompt[-1] in prompt[:-1],
    )


def reverse() -> NamedProgram:
    """Letters, a separator, and the beginning of the letters in reverse; the next one is asked for."""
    separator = LETTERS + 1
    tokens, positions = _given(LETTERS + 2, 2 * LONGEST + 1)
    middle, wanted = Variable("separator at", positions.size), Variable("wanted", positions.size)
    find = Head(middle, positions, (Match.where(tokens, tokens, lambda here, there: there == separator),))

    def mirror(here: int, middle: int) -> int | None:
        return 2 * middle - here - 1 if middle <= here < 2 * middle - 1 else None

    aim = Lookup.of(wanted, (positions, middle), mirror)
    fetch = Head(Variable("fetched", tokens.size), tokens, (_same(wanted, positions),))

    def prompts() -> Iterator[Prompt]:
        for letters in _strings(range(1, LETTERS + 1)):
            for known in range(len(letters) - 1):
                yield (*letters, separator, *letters[:0:-1][:known])

    return NamedProgram(
        _program("reverse", tokens, positions, find, aim, fetch),
        "letters backwards",
        prompts,
        lambda prompt: _one(prompt[prompt.index(separator) - (len(prompt) - prompt.index(separator))], LETTERS + 2),
    )


def sort() -> NamedProgram:
    """Letters and a question for the n-th smallest of them."""
    tokens, positions = _given(LETTERS + 1 + LONGEST, LONGEST + 2)
    asked = range(LETTERS + 1, tokens.size)
    counts, shares = [], []
    operations: list[Operation] = []

    def up_to(last: int) -> Callable[[int], bool]:
        return lambda token: token <= last

    for last in range(1, LETTERS):
        share = Variable(f"share of 1 to {last}", tokens.size)
        some = Match.prefer(tokens, up_to(last))
        shares.append(share)
        operations.append(Head(share, tokens, (some,)))
        counts.append(Variable(f"count of 1 to {last}", LONGEST + 1))
    for share, count in zip(shares, counts, strict=True):
        operations.append(_count_from_share(share, count, LONGEST))

    def smallest(token: int, *counts: int) -> int | None:
        if token not in asked:
            return None
        rank = token - LETTERS
        return 1 + sum(count < rank for count in counts)

    operations.append(Lookup.of(Variable("sorted", LETTERS + 1), (tokens, *counts), smallest))

    def prompts() -> Iterator[Prompt]:
        for letters in _strings(range(1, LETTERS + 1)):
            yield from ((*letters, LETTERS + rank) for rank in range(1, len(letters)))

    return NamedProgram(
        _program("sort", tokens, positions, *operations),
        "the n-th smallest letter",
        prompts,
        lambda prompt: _one(sorted(prompt[1:-1])[prompt[-1] - LETTERS - 1], LETTERS + 1),
    )


def _count_from_share(share: Variable, count: Variable, most: int, of: int = BOS) -> Steps:
    """How many were selected beside one that always is, whose share is 1 / (1 + how many)."""
    thresholds = [-(1 / (1 + n) + 1 / (2 + n)) / 2 for n in range(most)]
    margin = (1 / most - 1 / (1 + most)) / 2
    return Steps(count, share, tuple(-float(i == of) for i in range(share.size)), tuple(thresholds), margin)


def histogram() -> NamedProgram:
    tokens, positions = _given(LETTERS + 1, LONGEST + 1)
    share, count = Variable("share", tokens.size), Variable("count", LONGEST + 1)
    alike = Match.where(tokens, tokens, lambda here, there: there in (here, BOS))
    return NamedProgram(
        _program(
            "histogram",
            tokens,
            positions,
            Head(share, tokens, (alike,)),
            _count_from_share(share, count, LONGEST),
        ),
        "how often the last token occurs",
        lambda: _strings(range(1, LETTERS + 1)),
        lambda prompt: _one(prompt.count(prompt[-1]), LONGEST + 1),
    )


def fraction() -> NamedProgram:
    """As Tracr's: an MLP marks the letter, a head averages the marks."""
    tokens, positions = _given(LETTERS + 1, LONGEST + 1)
    marked = Variable("is 1", 2)
    mark = Lookup.of(marked, (tokens,), lambda token: token == 1)
    return NamedProgram(
        _program("fraction", tokens, positions, mark, Head(Variable("share", 2), marked)),
        "the share of letter 1 among all tokens",
        lambda: _strings(range(1, LETTERS + 1)),
        lambda prompt: [1 - prompt.count(1) / len(prompt), prompt.count(1) / len(prompt)],
    )


def brackets() -> NamedProgram:
    opening, closing = 1, 2
    tokens, positions = _given(3, LONGEST + 1)
    share, sign = Variable("share", 3), Variable("sign", 3)
    ever, fell = Variable("share of falls", 3), Variable("fell", 2)
    margin = 0.5 / positions.size
    operations = (
        Head(share, tokens),
        Steps(sign, share, (0.0, 1.0, -1.0), (-margin, margin), margin),
        Head(ever, sign, (Match.prefer(sign, lambda value: value == 0),)),
        Steps(fell, ever, (1.0, 0.0, 0.0), (0.5,), 0.5),
        Lookup.of(Variable("balanced", 2), (sign, fell), lambda sign, fell: sign == 1 and not fell),
    )

    def expected(prompt: Prompt) -> list[float]:
        depth, lowest = 0, 0
        for token in prompt[1:]:
            depth += 1 if token == opening else -1
            lowest = min(lowest, depth)
        return _one(int(depth == 0 and lowest == 0), 2)

    return NamedProgram(
        _program("brackets", tokens, positions, *operations),
        "whether brackets are balanced",
        lambda: _strings((opening, closing)),
        expected,
    )


def duplicate() -> NamedProgram:
    tokens, positions = _given(LETTERS + 1, LONGEST + 1)
    share, count = Variable("share", tokens.size), Variable("count", LONGEST + 1)
    alike = Match.where(tokens, tokens, lambda here, there: there in (here, BOS))
    operations = (
        Head(share, tokens, (alike,)),
        _count_from_share(share, count, LONGEST),
        Lookup.of(Variable("again", 2), (count,), lambda count: count > 1),
    )
    return NamedProgram(
        _program("duplicate", tokens, positions, *operations),
        "whether the last token occurred before",
        lambda: _strings(range(1, LETTERS + 1)),
        lambda prompt: _one(int(prompt[-1] in prompt[:-1]), 2),
    )


def miniature_ioi() -> NamedProgram:
    """Two names, something else, one of the names again, a question: the other name is the answer.

    A duplicate-token head finds where the repeated name stood, an inhibition head brings that to the end, and a name
    mover looks at the names anywhere but there.
    """
    names, other, question = range(1, 5), 5, 6
    first, second, again = 1, 2, 4
    tokens, positions = _given(7, 6)
    stood, avoided = Variable("stood at", 6), Variable("avoided", 6)
    earlier = Match.where(positions, positions, lambda here, there: there < here)
    operations = (
        Head(stood, positions, (_same(tokens, tokens), earlier)),
        Head(avoided, stood, (_at(positions, 1),)),
        Head(
            Variable("name", tokens.size),
            tokens,
            (Match.where(avoided, positions, lambda no, there: there in (first, second) and there != no),),
        ),
    )

    def prompts() -> Iterator[Prompt]:
        for pair in permutations(names, 2):
            yield from ((BOS, *pair, other, repeated, question) for repeated in pair)

    def expected(prompt: Prompt) -> list[float]:
        (answer,) = {prompt[first], prompt[second]} - {prompt[again]}
        return _one(answer, tokens.size)

    return NamedProgram(
        _program("miniature-ioi", tokens, positions, *operations),
        "the name that occurs once",
        prompts,
        expected,
    )


def modular_addition() -> NamedProgram:
    modulus = 5
    tokens, positions = _given(modulus + 2, 4)
    terms = [Variable(f"term {place}", tokens.size) for place in (1, 2)]
    heads = [Head(term, tokens, (_fixed(positions, place),)) for place, term in enumerate(terms, start=1)]

    def add(a: int, b: int) -> int | None:
        return (a + b - 2) % modulus if min(a, b) >= 1 and max(a, b) <= modulus else None

    total = Lookup.of(Variable("sum", modulus), terms, add)
    return NamedProgram(
        _program("modular-addition", tokens, positions, *heads, total),
        "the sum of two numbers modulo 5",
        lambda: ((BOS, a, b, modulus + 1) for a, b in product(range(1, modulus + 1), repeat=2)),
        lambda prompt: _one((prompt[1] + prompt[2] - 2) % modulus, modulus),
    )


def lookup_composition() -> NamedProgram:
    """Three permutations of the letters, one after the other, each in an MLP."""
    size = 6
    tokens, positions = _given(size, LONGEST + 1)
    steps = (lambda x: (x + 2) % size, lambda x: (size - x) % size, lambda x: (5 * x + 1) % size)
    operations, read = [], tokens
    for number, step in enumerate(steps):
        written = Variable(f"after step {number + 1}", size)
        operations.append(Lookup.of(written, (read,), step))
        read = written
    answers = {0: 5, 1: 0, 2: 1, 3: 2, 4: 1, 5: 4}
    answers |= {x: (5 * ((size - (x + 2) % size) % size) + 1) % size for x in range(size)}
    return NamedProgram(
        _program("lookup-composition", tokens, positions, *operations),
        "three tables, one after the other",
        lambda: _strings(range(1, size), longest=3),
        lambda prompt: _one(answers[prompt[-1]], size),
    )


def _gate(
    name: str,
    summary: str,
    copies: int,
    places: Sequence[int],
    table: Callable[..., int],
    **pairs: Callable[[Prompt], bool],
) -> NamedProgram:
    """`copies` heads that read a letter each, at `places`, and an MLP that combines whether these are letter 1; two
    more letters mean nothing."""
    tokens, positions = _given(4, 6)
    read = [Variable(f"letter {number + 1}", tokens.size) for number in range(copies)]
    heads = [Head(r, tokens, (_fixed(positions, place),)) for r, place in zip(read, places, strict=True)]
    combine = Lookup.of(Variable("said", 2), read, lambda *letters: table(*(letter == 1 for letter in letters)))
    return NamedProgram(
        _program(name, tokens, positions, *heads, combine),
        summary,
        lambda: ((*letters, 3) for letters in _strings((1, 2), shortest=4, longest=4)),
        lambda prompt: _one(int(table(*(prompt[place] == 1 for place in places))), 2),
        **pairs,
    )


def _both(letter: int) -> Callable[[Prompt], bool]:
    return lambda prompt: prompt[1] == prompt[2] == letter


def or_gate() -> NamedProgram:
    summary = "either of two letters is 1: where both are, one is enough"
    return _gate("or-gate", summary, 2, (1, 2), lambda a, b: a or b, clean=_both(1), corrupted=_both(2))


def and_gate() -> NamedProgram:
    summary = "both of two letters are 1: where they are, each is needed"
    return _gate("and-gate", summary, 2, (1, 2), lambda a, b: a and b, clean=_both(1), corrupted=_both(2))


def and_of_copies() -> NamedProgram:
    """The mirror image of an OR: where neither letter is 1, one that seems to be changes nothing."""
    summary = "both of two letters are 1: where neither is, one is enough for a no"
    return _gate("and-gate-off", summary, 2, (1, 2), lambda a, b: a and b, clean=_both(2), corrupted=_both(1))


def majority() -> NamedProgram:
    """Three heads that read the same letter, and what most of them say: none of them is needed, any two are enough."""
    summary = "three copies of one head, of which any two are enough"
    return _gate("majority", summary, 3, (1, 1, 1), lambda *bits: sum(bits) > 1)


LIBRARY = {
    named.name: named
    for named in (
        previous_token(),
        two_back(),
        induction(),
        reverse(),
        sort(),
        histogram(),
        fraction(),
        brackets(),
        duplicate(),
        miniature_ioi(),
        modular_addition(),
        lookup_composition(),
        or_gate(),
        and_gate(),
        and_of_copies(),
        majority(),
    )
}
