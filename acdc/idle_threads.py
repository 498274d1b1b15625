"""How PyTorch's threads wait for their next operation: what is read from the environment when torch is imported."""

from collections.abc import Mapping

# Turns of a waiting loop before a thread sleeps, some 10 microseconds. Waking a thread takes longer than a small
# operation does; but where two processes share the cores, threads that spin hold up those that would work.
SPINS = "1000"


def short_waits(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that let idle threads spin briefly, then sleep; none where the environment has a policy already."""
    if "OMP_WAIT_POLICY" in environment:
        return {}
    # The count is of GNU's OpenMP, which PyTorch has on Linux, and goes before the policy.
    return {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": environment.get("GOMP_SPINCOUNT", SPINS)}
