"""Induction: a token that was followed by another one before is followed by it again (Olsson et al. 2022).

"... A B ... C D ... A" is completed by B. The corrupted prompt exchanges the earlier A and C, so that the same last
token calls for D: the two prompts differ only in which token precedes which, the thing that a previous-token head
writes and an induction head reads.
"""

import random
from collections.abc import Sequence

from acdc.task.generators.corpus import THINGS
from acdc.task.generators.example import Example

LENGTHS = (9, 13)  # words before the repeated one


def example(first: str, second: str, words: Sequence[str], length: int, rng: random.Random) -> Example:
    """One row in which `first second` occurs and `first` is repeated at the end; the rest is drawn without repeats."""
    others = [word for word in words if word not in (first, second)]
    context = rng.sample(others, length - 2)
    filler, (other_first, other_second) = context[:-2], context[-2:]
    places = sorted(rng.sample(range(len(filler) + 1), 2))
    pairs = [[first, second], [other_first, other_second]]
    rng.shuffle(pairs)
    sequence = filler[: places[0]] + pairs[0] + filler[places[0] : places[1]] + pairs[1] + filler[places[1] :]
    exchanged = {first: other_first, other_first: first}
    return Example(
        clean=" ".join([*sequence, first]),
        corrupted=" ".join([*(exchanged.get(word, word) for word in sequence), first]),
        correct=(second,),
        incorrect=(other_second,),
        group=f"length-{length}",
    )


def generate(rows: int, seed: int, words: Sequence[str] = THINGS) -> list[Example]:
    """`rows` examples over all lengths in turn."""
    rng = random.Random(seed)
    drawn = [rng.sample(list(words), 2) for _ in range(rows)]
    return [example(a, b, words, LENGTHS[i % len(LENGTHS)], rng) for i, (a, b) in enumerate(drawn)]
