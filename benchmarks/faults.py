"""What becomes of `acdc run` when something goes wrong in the middle: a table of faults.

    python benchmarks/faults.py [--moments 5] [--only WORD] [--on process,ray,cluster] [--workers 2]

Each fault is put into real runs at drawn moments that cover their whole length; then the same command is run again to
the end, and every artefact compared byte by byte with that of a run that nothing happened to. Columns: at how many
moments all was identical and nothing was amiss; at how many the search of a job was cut off with trials on disk, from
which it went on; how the disturbed run ended; and the median of what the fault has cost in seconds, the start of the
second run included. The full file system needs the right to mount one; `--address` is that of a cluster of this machine
that is started for the purpose, killed, and started again.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/jobs"))

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import faults  # noqa: E402
from faults import Fault, Observation, Run, kill, observe, undisturbed  # noqa: E402

from acdc.jobs.pulse import answers  # noqa: E402

DISK = "size=8m"
CLUSTER = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}


@contextmanager
def folder_of_jobs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield filled(Path(name))


@contextmanager
def small_disk() -> Iterator[Path]:
    """A folder of jobs on a file system of its own. Raises CalledProcessError where none may be mounted."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "none", name], check=True, capture_output=True)
        try:
            yield filled(Path(name))
        finally:
            subprocess.run(["umount", name], check=True)


def filled(folder: Path) -> Path:
    (folder / "jobs.toml").write_text(faults.JOBS)
    return folder


class Head:
    """The head of a Ray cluster on this machine, which can be killed and started again at the same address."""

    def __init__(self, cores: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._cores = cores
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        self.start()

    def start(self, folder: Path | None = None) -> None:
        port = self.address.rpartition(":")[2]
        words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", port]
        words += ["--num-cpus", str(self._cores), "--include-dashboard=false", "--temp-dir", self._folder.name]
        self._run = Run([*words, "--object-store-memory", str(10**8)], Path(self._folder.name), CLUSTER)
        try:
            while not (answers(self.address) and self._run.named("ray::DashboardAgent")):  # the node's last server
                assert self._run.process.poll() is None and self._run.age < faults.PATIENCE, self._run.lines
                time.sleep(0.1)
        except BaseException:
            self.kill()
            raise

    def kill(self, run: Run | None = None) -> None:
        kill(self._run.everything)
        self._run.wait()


def row(fault: Fault, executor: str, observations: Sequence[Observation]) -> str:
    good = sum(seen.identical and not seen.problems for seen in observations)
    resumed = sum(seen.trials > 0 for seen in observations)
    codes = ", ".join(map(str, sorted({seen.code for seen in observations})))
    seconds = statistics.median(seen.seconds for seen in observations)
    cells = fault.name, executor, len(observations), good, resumed, codes, f"{seconds:.0f}"
    return "| " + " | ".join(map(str, cells)) + " |"


def table(
    executor: str,
    options: Sequence[str],
    tried: Sequence[tuple[Fault, Callable]],
    moments: int,
    environment: dict[str, str] | None = None,
) -> None:
    """Print a row for each (fault, context that gives a folder of jobs)."""
    with folder_of_jobs() as folder:
        expected = undisturbed(folder, *options, environment=environment)
    for fault, place in tried:
        seen = []
        for moment, share in enumerate(faults.shares(f"{fault.name} {executor}", moments)):
            while not seen[moment:]:
                with place() as folder:
                    found = observe(fault, folder, options, expected, share, environment)
                if faults.TOO_LATE not in found.problems:
                    seen.append(found)
                share /= 2
            for problem in seen[-1].problems:
                print(f"{fault.name}, {executor}, moment {moment}: {problem}", file=sys.stderr, flush=True)
        print(row(fault, executor, seen), flush=True)


def in_process(options: argparse.Namespace) -> None:
    table("in process", (), chosen(faults.IN_PROCESS, options.only), options.moments)


def on_ray(options: argparse.Namespace) -> None:
    words = ("--workers", str(options.workers))
    table(f"Ray, {options.workers} workers", words, chosen(faults.ON_RAY, options.only), options.moments)


def on_cluster(options: argparse.Namespace) -> None:
    head = Head(cores=2 * options.workers)  # a worker asks for one per thread
    try:
        gone = Fault("cluster killed and started again", head.kill, (0, 2), working=True, over=head.start)
        tried = [(fault, folder_of_jobs) for fault in (faults.KILLED_DRIVER, gone) if options.only in fault.name]
        words = ("--workers", str(options.workers), "--address", head.address)
        table("a cluster", words, tried, options.moments, CLUSTER)
    finally:
        head.kill()


def chosen(tried: Sequence[Fault], only: str) -> list[tuple[Fault, Callable]]:
    """Faults with `only` in their names, each with where it is tried."""
    places = [(fault, folder_of_jobs) for fault in tried]
    if may_mount():
        places.append((faults.FULL_FILE_SYSTEM, small_disk))
    return [(fault, place) for fault, place in places if only in fault.name]


def may_mount() -> bool:
    try:
        with small_disk():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="faults whose name has this word in it")
    parser.add_argument("--on", default=",".join(EXECUTORS), help="executors, separated by commas")
    options = parser.parse_args()
    print("| fault | executor | moments | identical | resumed in the middle | ended with | seconds lost |")
    print(f"|{' --- |' * 7}", flush=True)
    for name in options.on.split(","):
        EXECUTORS[name](options)


EXECUTORS = {"process": in_process, "ray": on_ray, "cluster": on_cluster}

if __name__ == "__main__":
    main()
