"""Disturb a real `acdc run` at a drawn moment, run the same command again, and compare with an undisturbed run.

A run has a session of its own, by which all its processes are known, whoever started them. What is compared is every
file of every run directory but `run.json`, which says how long things took.
"""

import contextlib
import itertools
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from acdc.jobs.store import DRIVERS
from acdc.jobs.work import LOCKS
from acdc.runs.run_directory import JOURNAL, RUN_FILE

JOBS = """
[defaults]
metric = "kl"
threshold = 0.0005
limit = 112
[[jobs]]
task = ["ioi", "greater_than"]
"""  # most rows are for the search, which is what can be cut off in the middle
OUT, FILLER = "out", "filler"
WORKER = "ray::Worker.work_on"
TOO_LATE = "the fault came too late"
PATIENCE = 180.0  # seconds, for a run to come to an end
GRACE = 15.0  # seconds, for what a run that ended has started to end too
LATEST = 0.8  # of a run's length: later, the fault might come when all is over
# After a sudden death of all else, these try for a minute to report it; they hold nothing of a run.
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
_PROGRESS = re.compile(r"\d\d:\d\d:\d\d ")


def processes_of(session: int) -> dict[int, str]:
    """Command line by process id of what runs in a session."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:  # it has ended meanwhile
            continue
    return found


def kill(processes: Iterable[int], number: int = signal.SIGKILL) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


class Run:
    """A command in a session of its own."""

    def __init__(self, words: Sequence[str], folder: Path, environment: dict[str, str] | None = None):
        self.began, self.lines, self.folder = time.monotonic(), [], folder
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored by what runs in the background
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def age(self) -> float:
        return time.monotonic() - self.began

    @property
    def driver(self) -> list[int]:
        return [self.process.pid]

    @property
    def everything(self) -> dict[int, str]:
        return processes_of(self.process.pid)

    def named(self, part: str) -> list[int]:
        """The run's processes whose command line has a part."""
        return [process for process, command in self.everything.items() if part in command]

    def wait_for_program(self) -> None:
        """Until the interpreter has started and the command itself runs, which says what it does about signals."""
        while not self._catches(signal.SIGTERM):
            assert self.process.poll() is None and self.age < PATIENCE, self.lines
            time.sleep(0.01)

    def _catches(self, number: int) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (number - 1) & 1)

    def wait_for_work(self) -> None:
        """Until the first job has started."""
        while not any(line.endswith(" started") for line in self.lines):
            assert self.process.poll() is None and self.age < PATIENCE, self.lines
            time.sleep(0.05)

    def wait(self) -> int:
        """Exit code; negative for a signal."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                kill(self.everything)
            self._reader.join(GRACE)

    def left_over(self) -> list[str]:
        """What still runs when there was time to end; killed then."""
        until = time.monotonic() + GRACE
        while (left := self._ours) and time.monotonic() < until:
            time.sleep(0.1)
        kill(self.everything)
        return list(left.values())

    @property
    def _ours(self) -> dict[int, str]:
        return {process: command for process, command in self.everything.items() if not command.startswith(_AGENTS)}

    @property
    def said(self) -> list[str]:
        """What it has printed on stderr besides progress."""
        return [line for line in self.lines if line and not _PROGRESS.match(line)]


def acdc_run(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Run:
    """`acdc run` of the jobs that are in a folder."""
    return Run([sys.executable, "-m", "acdc", "run", "jobs.toml", "--out", OUT, *options], folder, environment)


def artefacts(folder: Path) -> dict[str, bytes]:
    """All files of the run directories but `run.json`, by name."""
    runs = [path.parent for path in folder.glob(f"{OUT}/*/{RUN_FILE}")]
    files = [path for run in runs for path in run.iterdir() if path.name != RUN_FILE]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def leftovers(folder: Path) -> list[str]:
    """What is in a folder of jobs that should not outlast a run: hidden files, and marks of who runs it."""
    hidden = [path for path in folder.glob(f"{OUT}/**/.*") if path.name not in (LOCKS, DRIVERS)]
    return [str(path) for path in (*hidden, *folder.glob(f"{OUT}/{DRIVERS}/*"))]


def recorded_trials(folder: Path) -> int:
    """How many trials the journals in a folder hold, in which a search can go on."""
    journals = [path.read_bytes() for path in folder.glob(f"{OUT}/*/{JOURNAL}")]
    return sum(max(0, journal.count(b"\n") - 1) for journal in journals)


def finished(folder: Path) -> dict[str, bytes]:
    """The records of runs that are complete."""
    records = {str(path): path.read_bytes() for path in folder.glob(f"{OUT}/*/{RUN_FILE}")}
    return {name: record for name, record in records.items() if b'"status": "complete"' in record}


def evaluations(folder: Path) -> int:
    """What the searches of complete runs have computed, without what an attempt did that was cut off."""
    return sum(json.loads(record)["evaluations"] for record in finished(folder).values())


@dataclass(frozen=True)
class Undisturbed:
    """What a run gives that nothing happens to, how long it takes, and of that until the first job starts."""

    artefacts: dict[str, bytes]
    evaluations: int
    seconds: float
    starting: float


def undisturbed(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Undisturbed:
    run = acdc_run(folder, *options, environment=environment)
    run.wait_for_work()
    starting = run.age
    code, seconds = run.wait(), run.age
    assert code == 0, run.lines
    return Undisturbed(artefacts(folder), evaluations(folder), seconds, starting)


@dataclass(frozen=True)
class Fault:
    """Something that happens to a run. `codes`: how the run may end then; `working`: only once a job has started.
    `over`: what is to be done in its folder before the command is run again."""

    name: str
    inject: Callable[[Run], None]
    codes: tuple[int, ...]
    working: bool = False
    over: Callable[[Path], None] = lambda folder: None


@dataclass(frozen=True)
class Observation:
    """What became of a disturbed run and its repetition; `problems` is empty where all is as it should be.

    `trials`: how many of a search were on disk when it was cut off; `seconds`: what the fault has cost.
    """

    problems: tuple[str, ...]
    identical: bool
    trials: int
    seconds: float
    code: int


def shares(seed: str, moments: int) -> list[float]:
    """When to disturb runs, as shares of their length: one drawn from each of equal parts of it."""
    drawn = random.Random(seed)
    return [LATEST * (part + drawn.random()) / moments for part in range(moments)]


def observe(
    fault: Fault,
    folder: Path,
    options: Sequence[str],
    expected: Undisturbed,
    share: float,
    environment: dict[str, str] | None = None,
) -> Observation:
    """Disturb a run when a share of its length has passed."""
    first = acdc_run(folder, *options, environment=environment)
    if fault.working:
        first.wait_for_work()
        time.sleep(share * (expected.seconds - expected.starting))
    else:
        first.wait_for_program()
        time.sleep(share * (expected.seconds - first.age))
    problems = [TOO_LATE] if first.process.poll() is not None else []
    fault.inject(first)
    trials = recorded_trials(folder)
    code, seconds = first.wait(), first.age
    if code != 0:
        trials = recorded_trials(folder)
    problems += _complaints(first, code, fault.codes)
    before = finished(folder)
    fault.over(folder)
    if code != 0:
        second = acdc_run(folder, *options, environment=environment)
        problems += _complaints(second, second.wait(), (0,))
        seconds += second.age
    after = finished(folder)
    problems += [f"{name} was run again" for name, record in before.items() if after.get(name) != record]
    problems += [f"{name} is left" for name in leftovers(folder)]
    differing = different(artefacts(folder), expected.artefacts)
    problems += [f"{name} differs: {line}" for name, line in differing.items()]
    return Observation(tuple(problems), not differing, trials, seconds - expected.seconds, code)


def different(found: dict[str, bytes], expected: dict[str, bytes]) -> dict[str, str]:
    """Files that are not alike in both, each with its first line that is not as expected."""
    differing = {}
    for name in sorted(found.keys() | expected.keys()):
        lines = [files.get(name, b"").decode(errors="replace").split("\n") for files in (found, expected)]
        pairs = itertools.zip_longest(*lines)
        if (pair := next((pair for pair in pairs if pair[0] != pair[1]), None)) is not None:
            differing[name] = f"{pair[0]!r}, not {pair[1]!r}"
    return differing


def _complaints(run: Run, code: int, codes: Sequence[int]) -> list[str]:
    """What is wrong with how a run has ended."""
    found = [f"{command} still runs" for command in run.left_over()]
    if code not in codes:
        failures = [line for line in run.lines if " failed: " in line]
        found.append(f"it ended with {code} {failures}")
    if len(run.said) > 1 or not all(line.startswith("acdc: ") for line in run.said):
        found.append(f"it said {run.said}")
    if code > 0 and not run.said and not any(" failed: " in line for line in run.lines):
        found.append("it did not say why")
    return found


def _of_driver(number: int) -> Callable[[Run], None]:
    return lambda run: kill(run.driver, number)


def _of(part: str) -> Callable[[Run], None]:
    return lambda run: kill(run.named(part))


def _first_worker(run: Run) -> None:
    kill(run.named(WORKER)[:1])


def _every_worker_for_ever(run: Run) -> None:
    while run.process.poll() is None:
        kill(run.named(WORKER))
        time.sleep(0.5)


def _no_more_files(processes: Iterable[int]) -> None:
    """Let no file grow any more: for a process, that is a full disk."""
    for process in processes:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def _no_more_memory(run: Run) -> None:
    pages = int(Path(f"/proc/{run.process.pid}/statm").read_text().split()[0])
    resource.prlimit(run.process.pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))


def _fill(run: Run) -> None:
    """Leave no room on the file system of a run's folder."""
    with (run.folder / FILLER).open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


KILLED_DRIVER = Fault("SIGKILL of the driver", _of_driver(signal.SIGKILL), (-signal.SIGKILL,))
INTERRUPTED = Fault("SIGINT of the driver", _of_driver(signal.SIGINT), (128 + signal.SIGINT,))
TERMINATED = Fault("SIGTERM of the driver", _of_driver(signal.SIGTERM), (128 + signal.SIGTERM,))
FULL_DISK = Fault("no file of the driver may grow", lambda run: _no_more_files(run.driver), (2,), working=True)
FULL_FILE_SYSTEM = Fault(
    "full file system", _fill, (0, 2), working=True, over=lambda folder: (folder / FILLER).unlink()
)
NO_MEMORY = Fault("no more memory for the driver", _no_more_memory, (0, 1, 2), working=True)

KILLED_WORKER = Fault("SIGKILL of a worker", _first_worker, (0,), working=True)
KILLED_WORKERS = Fault(
    "SIGKILL of all workers, as often as they come back", _every_worker_for_ever, (0, 1), working=True
)
KILLED_MAILBOX = Fault("SIGKILL of the mailbox", _of("ray::Mailbox"), (0,), working=True)
KILLED_ALL = Fault("SIGKILL of all processes", lambda run: kill(run.everything), (-signal.SIGKILL,))
FULL_DISK_OF_WORKERS = Fault(
    "no file of a worker may grow", lambda run: _no_more_files(run.named("ray::Worker")), (2,), working=True
)
# What runs when Ray's servers die may end well before that is noticed.
KILLED_HEAD = Fault("SIGKILL of Ray's head server", _of("gcs_server"), (0, 2), working=True)
KILLED_NODE = Fault("SIGKILL of Ray's node server", _of("raylet/raylet"), (0, 2), working=True)

EITHER = (KILLED_DRIVER, INTERRUPTED, TERMINATED)
IN_PROCESS = (*EITHER, FULL_DISK, NO_MEMORY)
ON_RAY = (
    *(*EITHER, KILLED_ALL, KILLED_WORKER, KILLED_WORKERS, KILLED_MAILBOX),
    *(FULL_DISK_OF_WORKERS, KILLED_HEAD, KILLED_NODE),
)
