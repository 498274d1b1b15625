"""Memory of the workers of one machine: each with weights of its own, and all with the same ones.

    python benchmarks/weights.py MODEL [--workers 4]

The workers load the model at the same time, as in a pool. Memory is each process's share of what it has in common with
others (PSS of Linux), measured when all have loaded it; seconds are those until the last has, from files that were read
before. What a worker has before, Python and PyTorch, is shown apart.
"""

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.execution.machine import return_free_memory
from acdc.jobs.ray.pool import _connect, _import_ray
from acdc.jobs.ray.weights import NodeWeights
from acdc.jobs.ray.worker import MAILBOX, Mailbox
from acdc.model.load import load_model


class Loader:
    """A process that loads a model."""

    def __init__(self, model: str, together: bool):
        self._name, self._store = model, NodeWeights(MAILBOX) if together else None
        self._model: Any = None

    def load(self) -> None:
        self._model = load_model(self._name, device="cpu", store=self._store)
        return_free_memory()

    def memory(self) -> int:
        """Bytes."""
        return 1024 * int(re.findall(r"Pss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    ray = _import_ray(local=True)
    _connect(ray, given.workers, None)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    load_model(given.model, device="cpu")  # its files are in the system's cache then
    mailbox = ray.remote(Mailbox).options(name=MAILBOX, num_cpus=0).remote()
    ray.get(mailbox.drain.remote())  # it is there
    print("| weights | before, MiB each | loaded, MiB each | MiB in all | s |\n|---|---|---|---|---|", flush=True)
    for name, together in (("of each worker", False), ("of all together", True)):
        workers = [ray.remote(Loader).remote(given.model, together) for _ in range(given.workers)]
        before, began = ray.get([one.memory.remote() for one in workers]), time.perf_counter()
        ray.get([one.load.remote() for one in workers])
        seconds, after = time.perf_counter() - began, ray.get([one.memory.remote() for one in workers])
        each = " | ".join(f"{sum(some) / len(workers) / 2**20:,.0f}" for some in (before, after))
        print(f"| {name} | {each} | {sum(after) / 2**20:,.0f} | {seconds:.0f} |", flush=True)
        for one in workers:
            ray.kill(one)


if __name__ == "__main__":
    main()
