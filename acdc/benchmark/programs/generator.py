"""Random programs, each from a seed: as many known circuits as anyone wants.

Every operation reads variables that have one value at every position, so that all of it is exact: heads that look a
fixed number of positions back, heads that look for content and take the latest, and lookups. What is left unread in the
end goes into a last lookup, and what does not matter for its output is left out.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice, product

import numpy as np

from acdc.benchmark.programs.interpreter import run
from acdc.benchmark.programs.language import Head, Lookup, Match, Operation, Program, Variable
from acdc.benchmark.programs.library import BOS, NamedProgram, Prompt

LETTERS, LENGTH = 4, 5  # of a prompt after its first token
MOST_VALUES = 5  # of what a lookup writes
JOINED = 3  # variables that the last lookup reads, at most
COPIES = 3
DEEPEST = 5  # layers
SAMPLED = 7  # one prompt of so many is asked
RAREST = 0.1  # of all prompts: what any other than the commonest answer is given to
FRESH = 0.4  # how often only what nobody has read yet is considered for reading


@dataclass(frozen=True)
class Recipe:
    """How large random programs are: so many operations, and the share of heads that are there three times, with a
    lookup that takes what most of them say."""

    operations: int = 6
    redundancy: float = 0.0


@dataclass
class _Draft:
    """A program in the making."""

    generator: np.random.Generator
    tokens: Variable
    positions: Variable
    operations: list[Operation] = field(default_factory=list)
    unread: list[Variable] = field(default_factory=list)
    known: list[Variable] = field(default_factory=list)

    def add(self, operation: Operation) -> Variable:
        for _, variable in operation.reads:
            if variable in self.unread:
                self.unread.remove(variable)
        self.operations.append(operation)
        self.unread.append(operation.writes)
        self.known.append(operation.writes)
        return operation.writes

    def name(self, size: int) -> Variable:
        return Variable(f"v{len(self.operations)}", size)

    def pick(self) -> Variable:
        """A variable to read."""
        fresh = self.unread and self.generator.random() < FRESH
        choices = self.unread if fresh else self.known
        return choices[self.generator.integers(len(choices))]


def random_program(seed: int, recipe: Recipe, kind: str = "random") -> NamedProgram:
    """The random program of a seed, of which answers vary; what it should say is what its interpreter says."""
    drawn = (_draw_program(f"{kind}-{seed}", np.random.default_rng((seed, attempt)), recipe) for attempt in count())
    program = next(program for program in drawn if program.n_layers <= DEEPEST and _varies(program))
    return NamedProgram(program, "drawn at random", _prompts, partial(run, program))


def _draw_program(name: str, generator: np.random.Generator, recipe: Recipe) -> Program:
    tokens, positions = Variable("tokens", LETTERS + 1), Variable("positions", LENGTH + 1)
    draft = _Draft(generator, tokens, positions, known=[tokens])
    for _ in range(recipe.operations):
        _draw(draft, (_look_back, _look_for, _look_up)[generator.integers(3)], recipe.redundancy)
    while len(draft.unread) > 1 or not isinstance(draft.operations[-1], Lookup):
        draft.add(_table(draft, draft.unread[-JOINED:]))
    output = draft.operations[-1].writes
    program = Program(name, tokens, positions, tuple(draft.operations), output)
    live = tuple(operation for operation in program.operations if operation.writes in program.needed)
    return Program(name, tokens, positions, live, output)


def _varies(program: Program) -> bool:
    answers = Counter(run(program, prompt) for prompt in islice(_prompts(), None, None, SAMPLED))
    return 1 - max(answers.values()) / answers.total() >= RAREST


def _prompts() -> Iterator[Prompt]:
    return ((BOS, *letters) for letters in product(range(1, LETTERS + 1), repeat=LENGTH))


def _draw(draft: _Draft, make: Callable[[_Draft], Head | Lookup], redundancy: float) -> None:
    operation = make(draft)
    if isinstance(operation, Lookup) or draft.generator.random() >= redundancy:
        draft.add(operation)
        return
    size = operation.writes.size
    said = [draft.add(Head(draft.name(size), operation.value, operation.matches)) for _ in range(COPIES)]
    draft.add(Lookup.of(draft.name(size), said, lambda *values: max(values, key=values.count)))


def _look_back(draft: _Draft) -> Head:
    """One or two positions back, or the first where there are fewer."""
    value, back = draft.pick(), int(draft.generator.integers(1, 3))
    there = Match.where(draft.positions, draft.positions, lambda here, key: key == max(here - back, 0))
    return Head(draft.name(value.size), value, (there,))


def _look_for(draft: _Draft) -> Head:
    """The latest position where one variable is what a table says of another; here, where there is none."""
    query, key, value = draft.pick(), draft.pick(), draft.pick()
    wanted = draft.generator.integers(key.size, size=query.size)
    content = Match.where(query, key, lambda q, k: (LENGTH + 1) * (wanted[q] == k))
    return Head(draft.name(value.size), value, (content, Match.prefer(draft.positions, lambda position: position)))


def _look_up(draft: _Draft) -> Lookup:
    variables = [draft.pick() for _ in range(draft.generator.integers(1, 3))]
    return _table(draft, list(dict.fromkeys(variables)))


def _table(draft: _Draft, variables: list[Variable]) -> Lookup:
    """A random table in which every variable matters."""
    shape = tuple(variable.size for variable in variables)
    while True:
        table = draft.generator.integers(draft.generator.integers(2, MOST_VALUES + 1), size=shape)
        if all((table != table.take([0], axis=axis)).any() for axis in range(len(shape))):
            break
    return Lookup.of(draft.name(int(table.max()) + 1), variables, lambda *values: table[values])
