"""Many jobs on a simulated cluster of 4 nodes with 4 fake GPUs each: how long they take, as planned and measured.

The jobs sleep for known times, so the nodes need no cores of their own; what is measured is how jobs and parts of jobs
are handed out. Each worker is a process of about 0.5 GB.

    python benchmarks/cluster.py --workers 16
"""

import argparse
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/jobs"))

from simulated import CASES, GPUS, NODES, simulated_cluster  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=NODES * GPUS, help="Each has an equal share of the GPUs.")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="Numbers of some of them.")
    options = parser.parse_args()
    gpus = NODES * GPUS / options.workers
    print("| jobs | planned s | measured s | planned / measured |\n|---|---|---|---|")
    with pytest.MonkeyPatch.context() as patch, simulated_cluster(patch) as cluster:
        cluster.have(NODES)
        for case in (CASES[number] for number in options.cases):
            with tempfile.TemporaryDirectory() as folder:
                measured = case.measured(cluster, options.workers, gpus, Path(folder) / "naps")
            planned = case.planned(options.workers)
            print(f"| {case.name} | {planned:.1f} | {measured:.1f} | {planned / measured:.2f} |", flush=True)


if __name__ == "__main__":
    main()
