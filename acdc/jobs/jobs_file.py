"""Read and write a job file: TOML tables whose keys are the long options of `acdc discover`.

`[defaults]` holds for every job, each `[[jobs]]` is one; a key with a list of values stands for one job per value, and
several such keys for their grid. Relative paths are relative to the file. Everything wrong is reported together.
"""

import itertools
import json
import tomllib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import fields
from math import prod
from pathlib import Path
from typing import Any, Optional

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from acdc.errors import InputError, InputErrors, first_line, without_prefix
from acdc.files import existing_path, read_bytes
from acdc.model.sources import NAMES
from acdc.runs.spec import DiscoveryJob, located
from acdc.search.options import own_options
from acdc.search.registry import DEFAULT_METHOD, METHODS
from acdc.search.settings import DiscoverySettings

DEFAULT_MODEL, DEFAULT_TASK = "trio", "ioi"
_TABLES = ("defaults", "jobs")
MOST_BYTES, MOST_JOBS = 16 * 2**20, 10_000
_DEEPEST = 6


def _option(name: str) -> str:
    return name.replace("_", "-")


def _types() -> dict[str, Any]:
    """Type and default of every option of a job; None is the default of what a method alone takes."""
    job = {field.name: (field.type, field.default) for field in fields(DiscoveryJob) if field.name != "settings"}
    settings = {field.name: (field.type, field.default) for field in fields(DiscoverySettings)}
    del settings["options"]
    own = {"model": (str, DEFAULT_MODEL), "task": (str, DEFAULT_TASK), "metric": (str | None, None)}
    own["method"] = (str, DEFAULT_METHOD.name)
    methods = {name: (Optional[option.annotation], None) for name, option in _method_options().items()}  # noqa: UP045
    return job | settings | own | methods


def _method_options() -> dict[str, FieldInfo]:
    """Those of all methods; of several of one name, the first, as acdc's own."""
    return own_options(*(method.options for method in reversed([*METHODS.values()])))


def _table() -> type[BaseModel]:
    return create_model("JobTable", __config__=ConfigDict(extra="forbid", alias_generator=_option), **_types())


def read_jobs(path: Path) -> list[DiscoveryJob]:
    """The jobs of a file, grids expanded, in its order. Raises InputErrors naming every key that is wrong."""
    try:
        content = tomllib.loads(read_bytes(path, MOST_BYTES).decode("utf-8"))
    except RecursionError:
        raise InputError(f"job file {path} is not valid TOML: nested too deeply") from None
    except ValueError as error:  # of text that is no TOML or UTF-8, and of numbers that are too long
        raise InputError(f"job file {path} is not valid TOML: {first_line(error)}") from None
    _check_values(content, path)
    problems = [f"{name}: a job file has the tables {' and '.join(_TABLES)}" for name in content if name not in _TABLES]
    defaults, tables = content.get("defaults", {}), content.get("jobs", [{}] if "defaults" in content else [])
    if not isinstance(defaults, dict):
        problems.append("defaults: must be a table, [defaults]")
    if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
        problems.append("jobs: there must be at least one table [[jobs]]")
    if problems:
        raise InputErrors([f"{path}: {problem}" for problem in problems])
    return make_jobs(defaults, tables, path.parent, f"{path}: ")


def _check_values(content: Mapping[str, Any], path: Path) -> None:
    """Raises InputError for tables within tables that no option has, and for whole numbers that TOML does not have."""
    values = [("", content, 0)]
    while values:
        place, value, depth = values.pop()
        if depth > _DEEPEST:
            raise InputError(f"job file {path}: {place}: nested too deeply")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise InputError(f"job file {path}: {place}: a whole number of more than 64 bits")
        inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        values += [(f"{place}.{key}".lstrip("."), one, depth + 1) for key, one in inner]


def write_jobs(jobs: Sequence[DiscoveryJob]) -> str:
    """A job file of jobs, with every option of each."""
    return "\n".join("[[jobs]]\n" + "".join(_line(*option) for option in _options(job)) for job in jobs)


def _options(job: DiscoveryJob) -> Iterator[tuple[str, Any]]:
    values = {name: value for name, value in vars(job).items() if name != "settings"} | job.settings.record()
    for name, value in values.items():
        if value is not None:
            yield _option(name), value


def _line(name: str, value: Any) -> str:
    """What JSON and TOML write alike: booleans, finite numbers and text."""
    return f"{name} = {json.dumps(value, ensure_ascii=False)}\n"


def make_jobs(
    defaults: Mapping[str, Any], tables: Sequence[Mapping[str, Any]], folder: Path, where: str = ""
) -> list[DiscoveryJob]:
    """The jobs of tables of options, grids expanded; relative paths are relative to `folder`."""
    jobs, problems, table_type = [], [], _table()
    count = sum(_count({**defaults, **table}) for table in tables)
    if count > MOST_JOBS:
        raise InputErrors([f"{where}{count:,} jobs: at most {MOST_JOBS:,} are run together"])
    for number, table in enumerate(tables, start=1):
        merged = {**defaults, **table}
        problems += [
            f"{where}job {number}: {name}: an empty list stands for no job" for name in merged if merged[name] == []
        ]
        for options in _grid(merged):
            try:
                jobs.append(_make_job(options, folder, table_type))
            except InputErrors as error:
                problems += [f"{where}job {number}: {problem}" for problem in error.problems]
    if problems:
        raise InputErrors(list(dict.fromkeys(problems)))
    return jobs


def _count(table: Mapping[str, Any]) -> int:
    return prod(len(value) for value in table.values() if isinstance(value, list))


def _grid(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One table per choice of a value from every list."""
    values = [value if isinstance(value, list) else [value] for value in table.values()]
    for chosen in itertools.product(*values):
        yield dict(zip(table, chosen, strict=True))


def _make_job(options: Mapping[str, Any], folder: Path, table_type: type[BaseModel]) -> DiscoveryJob:
    """Raises InputErrors naming the keys that are wrong."""
    try:
        table = table_type.model_validate_json(json.dumps(options, default=str), strict=True)
    except ValidationError as error:
        raise InputErrors([_problem(found) for found in error.errors()]) from None
    values = {name: getattr(table, name) for name in table_type.model_fields}
    own = {name: values.pop(name) for name in _method_options()}
    values["options"] = {name: value for name, value in own.items() if value is not None}
    try:
        values["method"] = METHODS.find(values["method"])
        job = DiscoveryJob(
            model=_located(values.pop("model"), NAMES, folder),
            task=located(values.pop("task"), folder),
            **{name: values.pop(name) for name in ("revision", "device", "dtype", "verify", "verify_rows")},
            settings=DiscoverySettings(**values),
        )
        job.check()
    except InputError as error:
        raise InputErrors([str(error)]) from None
    return job


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: is not an option of 'acdc discover'"
    said = without_prefix(error["msg"])
    return f"{key}: {said[0].lower()}{said[1:]}, not {_shown(error['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _located(name: str, bundled: Container[str], folder: Path) -> str:
    """A name as it is, a path relative to the folder as an absolute one."""
    path = existing_path(name if name.startswith("~") or not name else str(folder / name))
    return name if name in bundled or path is None else str(path.resolve())
