"""What tests share: the bundled model and tasks, the material beside the checkout, and the command line."""

import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read when Ray is imported, whoever does it first

import torch  # noqa: E402

pytest_plugins = ["browsing"]
ROOT = Path(__file__).parent.parent
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rotation",
        type=rotation,
        metavar="N/K",
        help="run one part of the thorough tests, 0/K to K-1/K; the part that a test is in follows from its id",
    )


def rotation(text: str) -> tuple[int, int]:
    """(part, number of parts) of `N/K`. Raises ValueError for anything else, which pytest reports."""
    part, parts = map(int, text.split("/"))
    if not 0 <= part < parts:
        raise ValueError(text)
    return part, parts


def part_of(node_id: str, parts: int) -> int:
    """The part that a test is in: the same on every machine, and whatever other tests there are."""
    return int.from_bytes(hashlib.sha256(node_id.encode()).digest()[:8]) % parts


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (chosen := config.getoption("--rotation")) is None:
        return
    part, parts = chosen
    others = [i for i in items if i.get_closest_marker("thorough") and part_of(i.nodeid, parts) != part]
    config.hook.pytest_deselected(items=others)
    left_out = set(others)
    items[:] = [item for item in items if item not in left_out]


def slow_but(quick: Collection, values: Iterable, every: int = 1) -> list:
    """Parameters, of which all but some make a slow test: every so many of the others, the rest being thorough."""
    marked, others = [], 0
    for value in values:
        marks = ()
        if value not in quick:
            marks = pytest.mark.slow if others % every == 0 else pytest.mark.thorough
            others += 1
        marked.append(pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks))
    return marked


def shared_folder() -> Path | None:
    """Folder with reference models and results: ACDC_SHARED, or `shared` beside the checkout."""
    candidates = [os.environ.get("ACDC_SHARED"), ROOT.parent / "shared"]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("reference material is absent: set ACDC_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def trio():
    """The bundled model in float64."""
    from acdc.model.load import load_model

    return load_model("trio", dtype="float64")


@pytest.fixture(scope="session")
def induction(trio):
    from acdc.task.load import load_task

    return load_task("induction", trio)


@pytest.fixture(scope="session")
def stories(shared):
    from acdc.model.load import load_model

    return load_model(str(shared / "models/stories260k"), dtype="float64")


@pytest.fixture(scope="session")
def original(shared):
    """(model, task) of the random attention-only model that the original implementations were run on."""
    from acdc.model.load import load_model
    from acdc.task.load import load_task

    model = load_model(str(shared / "cases/original/model"), dtype="float64")
    return model, load_task(shared / "cases/original/task.jsonl", model)


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def acdc(monkeypatch, capsys, tmp_path):
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        from acdc.cli import progress
        from acdc.cli.main import main

        monkeypatch.setattr(sys, "argv", ["acdc", *map(str, words)])
        monkeypatch.setattr(progress, "FIRST", 1e6)  # a busy machine is slow enough for lines about it
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Outcome(ended.value.code or 0, printed.out, printed.err)

    return run
