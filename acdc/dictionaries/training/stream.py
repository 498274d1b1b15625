"""Activations of a corpus, chunk by chunk and shuffled within each: the same for a seed wherever a run goes on from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.dictionaries.corpus import Corpus
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.quality import batches
from acdc.dictionaries.run import sites_of
from acdc.errors import InputError
from acdc.model.load import Model

CHUNK_TOKENS = 16_384
HELD_OUT = 10  # one prompt of so many is for measuring alone


@dataclass(frozen=True)
class Chunk:
    """What a model has at some hooks at so many tokens [n, width], in a shuffled order."""

    values: dict[Hook, Tensor]
    count: int


def is_held_out(number: int) -> bool:
    return number % HELD_OUT == HELD_OUT - 1


def held_out(corpus: Corpus, tokens: int) -> list[tuple[int, ...]]:
    """Prompts that are not trained on, of about so many tokens together; all prompts where there are few. Raises
    InputError for a corpus without prompts."""
    found, total, every = list[tuple[int, ...]](), 0, list[tuple[int, ...]]()
    for number, prompt in enumerate(corpus.prompts()):
        if number < HELD_OUT:
            every.append(prompt)
        if is_held_out(number):
            found.append(prompt)
            total += len(prompt)
        if total >= tokens:
            break
    if not every:
        raise InputError(f"{corpus.name} holds no prompts")
    return found or every


class Stream:
    """Goes through a corpus again and again. First tokens are left out, see `acdc.dictionaries.quality`."""

    def __init__(self, model: Model, corpus: Corpus, hooks: Sequence[Hook], seed: int):
        self.model, self.corpus, self.hooks, self.seed = model, corpus, tuple(dict.fromkeys(hooks)), seed

    def chunks(self, first: int = 0) -> Iterator[Chunk]:
        """From a chunk's number on; those before it are not computed."""
        for number, prompts in enumerate(self._prompts()):
            if number >= first:
                yield self._chunk(number, prompts)

    def _prompts(self) -> Iterator[list[tuple[int, ...]]]:
        """Without end: prompts of a chunk each, the last of a round with fewer."""
        while True:
            held, total, any_yet = list[tuple[int, ...]](), 0, False
            for number, prompt in enumerate(self.corpus.prompts()):
                if len(prompt) < 2 or is_held_out(number):
                    continue
                held.append(prompt)
                total += len(prompt) - 1
                if total >= CHUNK_TOKENS:
                    yield held
                    held, total, any_yet = [], 0, True
            if held:
                yield held
            elif not any_yet:
                raise InputError(f"{self.corpus.name} holds no prompts of two tokens to train on")

    def _chunk(self, number: int, prompts: Sequence[tuple[int, ...]]) -> Chunk:
        parts: dict[Hook, list[Tensor]] = {hook: [] for hook in self.hooks}
        for tokens, there in batches(self.model, sorted(prompts, key=len), 64):
            there = there.clone()
            there[:, 0] = False
            for hook, x in sites_of(self.model, tokens, self.hooks).items():
                parts[hook].append(x[there])
        values = {hook: torch.cat(found) for hook, found in parts.items()}
        count = len(values[self.hooks[0]])
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        order = torch.randperm(count, generator=generator).to(self.model.device)
        return Chunk({hook: x[order] for hook, x in values.items()}, count)
