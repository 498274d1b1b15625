"""How many candidates one pass of ACDC may have, and what they may take: constants of a kind of device, and on a GPU of
how much memory it has in all, so that two of one model give the same. What is free then only makes passes narrower."""

from acdc.execution.machine import device_memory, free_memory
from acdc.model.load import Model

WIDEST = {"cpu": 16, "cuda": 1024}  # most candidates of one pass
CPU_PASS_BYTES = 256 * 2**20  # what the candidates of one pass may take
PASS_SHARE = 1 / 16  # of a GPU's memory, that they may take there
FREE_SHARE = 0.5  # of what is free when a receiver is opened
CACHE_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}  # slot inputs that are projected in one product stay below this


def widest(model: Model) -> int:
    """Most candidates of one pass on a model's device."""
    return WIDEST[model.device_kind]


def pass_bytes(model: Model) -> int:
    """Bytes that the candidates of one pass may take on a model's device, or the one that it is planned for."""
    if model.device_kind == "cpu":
        return CPU_PASS_BYTES
    memory = model.planned_memory if model.planned_for else device_memory(model.device)
    return max(CPU_PASS_BYTES, int(PASS_SHARE * (memory or 0)))


def room(model: Model) -> float:
    """The same where no more is free now; in a plan, as if all were."""
    free = None if model.planned_for else free_memory(model.device)
    return pass_bytes(model) if free is None else min(pass_bytes(model), FREE_SHARE * free)
