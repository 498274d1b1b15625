"""Text that a model writes itself: a corpus for models whose own text is not at hand."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from acdc.dictionaries.corpus import WINDOW
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.options import check_count

_TOGETHER = 64


@dataclass(frozen=True)
class OwnText:
    """So many texts of at most `window` tokens, drawn at temperature 1 after the model's BOS token by a seed. See
    `acdc.dictionaries.corpus.Corpus`."""

    model: Model
    count: int
    window: int = WINDOW
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for a model that writes none."""
        check_count("--own-text", self.count, 2**24)
        if not hasattr(self.model.bridge.original_model, "generation_config") or self.model.anatomy.bidirectional:
            raise InputError(
                f"model {self.model.name!r} ({self.model.family}) generates no text: give --text or --task"
            )

    @property
    def name(self) -> str:
        return f"text by {self.model.name}"

    @property
    def digest(self) -> str:
        told = f"{self.model.content_hash} {self.model.dtype_name} {self.count} {self.window} {self.seed}"
        return hashlib.sha256(told.encode()).hexdigest()

    def prompts(self) -> Iterator[tuple[int, ...]]:
        yield from self._texts

    @cached_property
    def _texts(self) -> list[tuple[int, ...]]:
        generator = torch.Generator().manual_seed(self.seed)
        found = list[tuple[int, ...]]()
        while len(found) < self.count:
            found += self._draw(min(_TOGETHER, self.count - len(found)), generator)
        return found

    @torch.no_grad()
    def _draw(self, count: int, generator: torch.Generator) -> list[tuple[int, ...]]:
        config: Any = self.model.bridge.original_model.generation_config
        first = config.bos_token_id if isinstance(config.bos_token_id, int) else 0
        given = torch.full((count, 1), first, device=self.model.device)
        drawn, cache = [given], None
        for _ in range(min(self.window, self.model.anatomy.n_ctx) - 1):
            out = self.model.bridge.original_model(given, past_key_values=cache, use_cache=True)
            shares = out.logits[:, -1].double().softmax(-1).cpu()
            given = torch.multinomial(shares, 1, generator=generator).to(self.model.device)
            cache = out.past_key_values
            drawn.append(given)
        ends = {config.eos_token_id} if isinstance(config.eos_token_id, int) else set(config.eos_token_id or ())
        return [_until(row, ends - {first}) for row in torch.cat(drawn, 1).tolist()]


def _until(tokens: list[int], ends: set[int]) -> tuple[int, ...]:
    """Up to the first token that ends a text."""
    stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(tokens[: max(stop, 2)])
