"""Edge patching at one position, the slow way: raw torch hooks on the plain model. The judge of circuits at positions.

An edge into a key or value is seen by the queries at one position alone: what they mix is taken from a run in which all
queries see it, and put into a run in which none does.
"""

import torch
from brute_force import BruteForce
from torch import Tensor


def patched_at(
    oracle: BruteForce, tokens: Tensor, target: str, change: Tensor, residuals: list[Tensor], source: int, at: int
) -> Tensor:
    """Logits with `change` added to what one slot reads at `source`; of a key or value, for the queries at `at`."""
    alone = torch.zeros_like(change)
    alone[:, source] = change[:, source]
    kind = target[-2] if target.endswith(">") else target
    if kind not in "kv":
        assert source == at
        return oracle.patched(tokens, target, alone, residuals)
    layer = int(target[1:].split(".")[0])
    out = oracle.part(layer, f"{oracle.names.attention}.{oracle.names.out}")
    seen: list[Tensor] = []
    handle = out.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    oracle.patched(tokens, target, alone, residuals)
    handle.remove()

    def exchange(module, given):
        mixed = given[0].clone()
        mixed[:, at] = seen[0][:, at]
        return (mixed,)

    handle = out.register_forward_pre_hook(exchange)
    logits = oracle.logits(tokens)
    handle.remove()
    return logits


def node_patched_at(oracle: BruteForce, tokens: Tensor, writer: str, change: Tensor, at: int) -> Tensor:
    """Logits with `change` added at one position to what a component adds to the residual, for all that read it."""
    alone = torch.zeros_like(change)
    alone[:, at] = change[:, at]
    names = oracle.names
    if writer == "input":
        handle = oracle.blocks[0].register_forward_pre_hook(
            lambda module, given, named: (
                ((given[0] + alone, *given[1:]), named)
                if given
                else (given, {**named, "hidden_states": named["hidden_states"] + alone})
            ),
            with_kwargs=True,
        )
    else:
        layer = int(writer[1:].split(".")[0])
        head = writer.startswith("a")
        name = (names.post1 or f"{names.attention}.{names.out}") if head else (names.post2 or "mlp")
        handle = oracle.part(layer, name).register_forward_hook(
            lambda module, given, output: (
                output + alone if isinstance(output, Tensor) else (output[0] + alone, *output[1:])
            )
        )
    logits = oracle.logits(tokens)
    handle.remove()
    return logits
