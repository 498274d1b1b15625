"""Answers questions about a folder of jobs where it is: `python -m acdc.jobs.ray.on_cluster VERB FOLDER ...`.

Every answer is a marked line of JSON on standard output, which may hold other lines. Contents of files are compressed
and in base64, so that nothing on the way changes them.
"""

import base64
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from acdc.errors import InputError

MARK = "acdc-answer:"
ERROR = "acdc: error:"


def state(folder: Path) -> Iterator[Any]:
    """How its jobs stand; nothing where it holds none yet."""
    from acdc.jobs.job_folder import JobFolder
    from acdc.jobs.store import FILE_NAME

    if (folder / FILE_NAME).is_file():
        yield JobFolder(folder).state().model_dump(mode="json")


def logs(folder: Path, job: str) -> Iterator[Any]:
    """What one of its jobs has logged."""
    from acdc.jobs.job_folder import JobFolder

    yield JobFolder(folder).logs(job)


def files(folder: Path) -> Iterator[Any]:
    """The files of its finished runs."""
    from acdc.jobs.job_folder import JobFolder

    for entry in JobFolder(folder).files():
        yield entry.model_dump()


def read(folder: Path, *names: str) -> Iterator[Any]:
    """Contents of files."""
    for name in names:
        yield base64.b64encode(zlib.compress((folder / name).read_bytes())).decode("ascii")


VERBS: dict[str, Callable[..., Iterator[Any]]] = {"state": state, "logs": logs, "files": files, "read": read}


def main() -> None:
    """Answer one question; an error is a line on standard error and exit code 2."""
    verb, folder, *words = sys.argv[1:]
    try:
        for answer in VERBS[verb](Path(folder).expanduser(), *words):
            print(MARK + json.dumps(answer))
    except (InputError, OSError) as error:
        print(f"{ERROR} {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
