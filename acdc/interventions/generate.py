"""Text generated with and without interventions, by the model itself and with its own cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acdc.artefacts.intervention import Generated
from acdc.attribution.trace import prompt_text
from acdc.errors import InputError
from acdc.interventions.bound import Bound
from acdc.interventions.hooks import Hooks
from acdc.model.load import Model

MOST_TOKENS = 10_000


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 takes the likeliest token. Above it, tokens are drawn with the same random numbers with and
    without interventions, so that the two differ only where the model does."""

    tokens: int
    temperature: float = 0.0
    seed: int = 0

    def check(self) -> None:
        """Raises InputError for values that mean nothing."""
        if not 1 <= self.tokens <= MOST_TOKENS:
            raise InputError(f"--generate {self.tokens} must be 1 to {MOST_TOKENS:,} tokens")
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"--temperature {self.temperature:g} must be 0 or more")


def check_generates(model: Model, prompt: int, sampling: Sampling) -> None:
    """Raises InputError for a model that cannot continue a prompt of so many tokens."""
    sampling.check()
    if model.anatomy.bidirectional:
        raise InputError(f"model {model.name!r} attends in both directions and generates no text")
    if not hasattr(model.bridge.original_model, "generation_config"):
        raise InputError(
            f"model {model.name!r} ({model.family}) has no cache of its own to generate with: use a Hugging Face model"
        )
    if prompt + sampling.tokens > model.anatomy.n_ctx:
        raise InputError(
            f"--generate {sampling.tokens} is too much: with the prompt's {prompt:,} tokens that is more than the "
            f"{model.anatomy.n_ctx:,} that the model takes"
        )


def generate_both(model: Model, bound: Sequence[Bound], tokens: Tensor, sampling: Sampling) -> Generated:
    """Continue token ids [P] without and with interventions. Raises InputError as `check_generates` does."""
    check_generates(model, len(tokens), sampling)
    before, after = (generate(model, some, tokens, sampling) for some in ((), bound))
    return Generated(before, after, prompt_text(model, before), prompt_text(model, after))


@torch.no_grad()
def generate(model: Model, bound: Sequence[Bound], tokens: Tensor, sampling: Sampling) -> tuple[int, ...]:
    """The token ids that follow token ids [P], up to the first that ends a text."""
    hooks, found, given, cache = Hooks(model, bound), list[int](), tokens[None], None
    drawn = torch.rand(
        sampling.tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(sampling.seed)
    ).tolist()
    ends = _ends(model)
    with hooks.on():
        for number in drawn:
            out = model.bridge.original_model(given, past_key_values=cache, use_cache=True)
            hooks.offset, cache = hooks.offset + given.shape[1], out.past_key_values
            found.append(_next(out.logits[0, -1], sampling.temperature, number))
            if found[-1] in ends:
                break
            given = tokens.new_tensor([found[-1:]])
    return tuple(found)


def _next(logits: Tensor, temperature: float, number: float) -> int:
    if temperature == 0:
        return int(logits.argmax())
    cumulative = (logits.double().cpu() / temperature).softmax(-1).cumsum(-1)
    return int(torch.searchsorted(cumulative, number * float(cumulative[-1]), right=True))


def _ends(model: Model) -> set[int]:
    config: Any = model.bridge.original_model.generation_config
    found = config.eos_token_id
    return set() if found is None else {found} if isinstance(found, int) else set(found)
