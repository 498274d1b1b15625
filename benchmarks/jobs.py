"""Jobs in this process, on one Ray worker and on two: are the bytes the same, and how much faster are two?

A sweep of 12 jobs (2 tasks x 3 methods x 2 settings), then jobs of equal length with one thread each. Time is from the
first job's start to the last one's end, and of the whole command, in which Ray takes some seconds to start.

    python benchmarks/jobs.py --model FOLDER --tasks A.jsonl B.jsonl
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SWEEP = """
[defaults]
model = "{model}"
task = {tasks}
threads = 1

[[jobs]]
method = "acdc"
metric = "kl"
threshold = [0.1, 0.03]

[[jobs]]
method = ["eap", "eap-ig-inputs"]
metric = "logit_diff"
edges = [50, 200]
"""
EQUAL = """
[[jobs]]
model = "{model}"
task = {tasks}
method = "exact"
edges = 100
threads = 1
seed = {seeds}
"""
WAYS = {"in this process": [], "1 worker": ["--workers", "1"], "2 workers": ["--workers", "2"]}
TIMED = "run.json"  # the one file of a run that holds times


@dataclass(frozen=True)
class Timing:
    """Seconds of the whole command, and from the first job's start to the last one's end."""

    command: float
    jobs: float


def run(text: str, folder: Path, options: list[str]) -> Timing:
    """Run a job file in an empty folder."""
    folder.mkdir()
    jobs, began = folder / "jobs.toml", time.monotonic()
    jobs.write_text(text)
    command = [sys.executable, "-m", "acdc", "run", str(jobs), "--out", str(folder / "out"), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seen = [time.monotonic() for line in process.stderr if " started" in line or " after " in line]
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    return Timing(time.monotonic() - began, seen[-1] - seen[0])


def artefacts(folder: Path) -> list[str]:
    """Every file of every run but those with times, relative to the folder."""
    out = folder / "out"
    files = (path for run in out.iterdir() if (run / TIMED).is_file() for path in run.rglob("*"))
    return sorted(str(path.relative_to(out)) for path in files if path.is_file() and path.name != TIMED)


def same(one: Path, other: Path) -> bool:
    names = artefacts(one)
    match, _, _ = filecmp.cmpfiles(one / "out", other / "out", names, shallow=False)
    return names == artefacts(other) and len(match) == len(names)


def compare(title: str, text: str, jobs: int) -> None:
    """Run a job file in every way and print a table."""
    print(f"\n{title}\n\n| where | seconds, jobs | seconds, command | jobs per second | of one worker | same bytes |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name.replace(" ", "-") for name in WAYS}
        timings = {}
        for name, options in WAYS.items():
            timings[name] = run(text, folders[name], options)
        for name, timing in timings.items():
            identical = "yes" if same(folders["in this process"], folders[name]) else "NO"
            ratio = timings["1 worker"].jobs / timing.jobs
            rate = jobs / timing.jobs
            print(f"| {name} | {timing.jobs:.1f} | {timing.command:.1f} | {rate:.2f} | {ratio:.2f} | {identical} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="trio")
    parser.add_argument("--tasks", nargs=2, default=["ioi", "greater_than"])
    parser.add_argument("--equal", type=int, default=8, help="How many jobs of equal length.")
    options = parser.parse_args()
    resolved = [str(Path(name).resolve()) if Path(name).exists() else name for name in (options.model, *options.tasks)]
    model, tasks = resolved[0], resolved[1:]
    compare("12 jobs: 2 tasks x 3 methods x 2 settings", SWEEP.format(model=model, tasks=tasks), 12)
    equal = EQUAL.format(model=model, tasks=[tasks[0]], seeds=list(range(options.equal)))
    compare(f"{options.equal} jobs of equal length", equal, options.equal)
    one = EQUAL.format(model=model, tasks=[tasks[0]], seeds=[0])
    compare("One job, which two workers share", one, 1)


if __name__ == "__main__":
    main()
