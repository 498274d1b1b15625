"""How PyTorch's threads wait for their next operation: what is read from the environment when torch is imported."""

from collections.abc import Mapping

# Turns of a waiting loop before a thread sleeps, some 50 microseconds. Waking a thread takes as long as a small
# operation does; threads that wait longer slow down everything else on a busy machine.
SPINS = "4000"


def short_waits(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that let idle threads spin briefly, then sleep; none where the environment has a policy already."""
    if "OMP_WAIT_POLICY" in environment:
        return {}
    # The count is of GNU's OpenMP, which PyTorch has on Linux, and goes before the policy.
    return {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": environment.get("GOMP_SPINCOUNT", SPINS)}
