"""The run store: which jobs there are in a folder, how far each is, and why one failed.

One SQLite file beside the run directories, in write-ahead mode, so that several processes can read and write it. It is
an index: what is finished is known from the run directories, and a store that is lost is made anew by the next run.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from acdc.display import Tabled
from acdc.errors import DiskError, InputError
from acdc.files import check_target, make_private
from acdc.jobs.job import Job

FILE_NAME, DRIVERS = "jobs.sqlite3", ".drivers"
PATIENCE = 20.0  # seconds that a write waits for others
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, place INTEGER NOT NULL, command TEXT NOT NULL, status TEXT NOT NULL,
    error TEXT, seconds REAL, stage TEXT, done REAL, total REAL, unit TEXT, note TEXT, changed REAL NOT NULL,
    since REAL, begun REAL
) STRICT;
CREATE TABLE IF NOT EXISTS drivers (pid INTEGER NOT NULL, host TEXT NOT NULL, started REAL NOT NULL) STRICT;
"""


class Status(StrEnum):
    """How far a job is."""

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    stopped = "stopped"
    interrupted = "interrupted"  # never written: what was running when the process that ran it died


@dataclass(frozen=True)
class Stage:
    """What a job is at: how much of what is done, and in few words how things stand."""

    name: str
    done: float
    total: float
    unit: str
    note: str


@dataclass(frozen=True, repr=False)
class StoredJob(Tabled):
    """A job as the store knows it; `rate` is what its stage gets done per second, None while that is unknown.

    `changed` is when all this was last written, in seconds since the epoch.
    """

    id: str
    name: str
    command: str
    status: Status
    error: str | None
    seconds: float | None
    stage: Stage | None
    rate: float | None
    changed: float

    def summary(self) -> str:
        why = "" if self.error is None else f": {self.error.splitlines()[0]}" if self.error else ""
        return f"{self.name}, {self.status}{why}"

    def table(self) -> Iterator[dict[str, Any]]:
        """One row."""
        yield {name: getattr(self, name) for name in ("id", "name", "status", "seconds", "error", "command")}


@dataclass(frozen=True)
class Driver:
    """A process that runs the jobs of a folder, and the host that it is on."""

    pid: int
    host: str


class Store:
    """The jobs of one folder, which on a read-only disk are only read. Every method raises InputError for a damaged
    file and DiskError for a full disk."""

    def __init__(self, folder: Path):
        self.path = folder / FILE_NAME
        self._entered: IO[str] | None = None
        check_target(self.path)
        self.read_only = self.path.exists() and not os.access(folder, os.W_OK)
        with self._errors():
            if self.read_only:
                self._database = sqlite3.connect(f"{self.path.resolve().as_uri()}?immutable=1", uri=True)
            else:
                self.path.touch(mode=0o600)
                self._database = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            self._database.row_factory = sqlite3.Row
            if not self.read_only:
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.executescript(_SCHEMA)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            kind = DiskError if "full" in str(error) or "disk I/O" in str(error) else InputError
            raise kind(f"run store {self.path} cannot be used: {error}") from None
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"run store {self.path} is damaged ({error}): delete it, and 'acdc run' makes a new one"
            ) from None
        except OSError as error:
            raise InputError(f"run store {self.path} cannot be used: {error.strerror}") from None

    def _write(self, statement: str, *values: Any) -> None:
        with self._errors():
            self._database.execute(statement, values)

    def add(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; those that are there already and not done are queued again."""
        with self._errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for place, job in enumerate(jobs):
                self._database.execute(
                    "INSERT INTO jobs (id, name, place, command, status, changed) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET place = excluded.place, "
                    "status = CASE WHEN status IN ('done', 'running') THEN status ELSE 'queued' END",
                    (job.id, job.name, place, job.command, Status.queued, time.time()),
                )

    def mark(self, id: str, status: Status, error: str | None = None, seconds: float | None = None) -> None:
        """Record the status of a job."""
        self._write(
            "UPDATE jobs SET status = ?, error = ?, seconds = ?, stage = NULL, changed = ? WHERE id = ?",
            *(status, error, seconds, time.time(), id),
        )

    def found_done(self, id: str) -> None:
        """Record that a job turned out to be done already."""
        statement = "UPDATE jobs SET status = ?, error = NULL, changed = ? WHERE id = ? AND status <> ?"
        self._write(statement, Status.done, time.time(), id, Status.done)

    def at(self, id: str, stage: Stage) -> None:
        """Record the stage of a job, and for a new stage when it began and how much was done."""
        now = time.time()
        self._write(
            "UPDATE jobs SET since = iif(stage IS ?, since, ?), begun = iif(stage IS ?, begun, ?), "
            "stage = ?, done = ?, total = ?, unit = ?, note = ?, changed = ? WHERE id = ?",
            *(stage.name, now, stage.name, stage.done),
            *(stage.name, stage.done, stage.total, stage.unit, stage.note, now, id),
        )

    def take(self, jobs: Sequence[StoredJob]) -> None:
        """Take over how jobs stand from another store."""
        with self._errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            (behind,) = self._database.execute("SELECT coalesce(max(place) + 1, 0) FROM jobs").fetchone()
            for place, job in enumerate(jobs, start=behind):
                self._database.execute(
                    "INSERT INTO jobs (id, name, place, command, status, error, seconds, changed) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status, "
                    "error = excluded.error, seconds = excluded.seconds, changed = excluded.changed",
                    (job.id, job.name, place, job.command, job.status, job.error, job.seconds, job.changed),
                )

    def jobs(self) -> list[StoredJob]:
        """All jobs, in the order in which they were given."""
        with self._errors():
            rows = self._database.execute("SELECT * FROM jobs ORDER BY place, id").fetchall()
        return [_job(row) for row in rows]

    def enter(self, pid: int, host: str) -> None:
        """Record a process that runs the jobs of this folder, until it ends.

        It holds a lock meanwhile, which the system takes back when it dies: a number would not tell it from a later
        process of the same number. What those of this host have left that were killed is cleared away.
        """
        for driver in self._entries():
            if driver.host == host and not self._is_held(driver):
                self._forget(driver)
        path = self._lock_file(Driver(pid, host))
        make_private(path.parent)
        with self._errors():
            self._entered = path.open("w")
            fcntl.flock(self._entered, fcntl.LOCK_EX)
        self._write("INSERT INTO drivers VALUES (?, ?, ?)", pid, host, time.time())

    def leave(self, pid: int, host: str) -> None:
        """Record that it has ended."""
        self._forget(Driver(pid, host))
        if self._entered:
            self._entered.close()

    def drivers(self) -> list[Driver]:
        """The processes that run the jobs of this folder now."""
        return [driver for driver in self._entries() if self._is_held(driver)]

    def _entries(self) -> list[Driver]:
        """Those who have entered and not left, the killed ones included."""
        with self._errors():
            rows = self._database.execute("SELECT DISTINCT pid, host FROM drivers ORDER BY started").fetchall()
        return [Driver(row["pid"], row["host"]) for row in rows]

    def _forget(self, driver: Driver) -> None:
        self._write("DELETE FROM drivers WHERE pid = ? AND host = ?", driver.pid, driver.host)
        with self._errors():
            self._lock_file(driver).unlink(missing_ok=True)

    def _lock_file(self, driver: Driver) -> Path:
        return self.path.parent / DRIVERS / f"{driver.host}-{driver.pid}"

    def _is_held(self, driver: Driver) -> bool:
        """Whether a process holds its lock."""
        try:
            with self._lock_file(driver).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._database.close()


def open_store(folder: Path) -> Store:
    """The store of a folder of jobs. Raises InputError where there is none."""
    if not (folder / FILE_NAME).is_file():
        raise InputError(f"{folder} is not a folder of jobs: it has no {FILE_NAME}; 'acdc run' makes one")
    return Store(folder)


def _job(row: sqlite3.Row) -> StoredJob:
    stage = rate = None
    if row["stage"] is not None:
        stage = Stage(row["stage"], row["done"], row["total"], row["unit"], row["note"])
        if row["changed"] > row["since"]:
            rate = (row["done"] - row["begun"]) / (row["changed"] - row["since"])
    status, seconds = Status(row["status"]), row["seconds"]
    return StoredJob(row["id"], row["name"], row["command"], status, row["error"], seconds, stage, rate, row["changed"])
