"""What tests share: the bundled model and tasks, the material beside the checkout, and the command line."""

import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # several tests run at once; read when torch is imported

os.environ.pop("COLUMNS", None)  # which pytest-xdist sets; output in pipes would be as wide

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
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)  # the longest first
    if (chosen := config.getoption("--rotation")) is None:
        return
    part, parts = chosen
    others = [i for i in items if i.get_closest_marker("thorough") and part_of(i.nodeid, parts) != part]
    config.hook.pytest_deselected(items=others)
    left_out = set(others)
    items[:] = [item for item in items if item not in left_out]


def thorough_but(quick: Collection, values: Iterable) -> list:
    """Parameters, of which all but some make a thorough test: the quick ones stand for the others on every commit."""
    marked = []
    for value in values:
        marks = () if value in quick else pytest.mark.thorough
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


def command_in(folder: Path, *words: object) -> str:
    """Run a command in this process and in a folder, for what many tests look at. Returns what it printed."""
    from acdc.cli.main import main

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said, redirect_stderr(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["acdc", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, said.getvalue()
    return said.getvalue()


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture(scope="session")
def modules_of_trio():
    """The bundled model's modules by where and in what dtype they are, and the sum of their weights."""
    return {}


@pytest.fixture
def built_once(monkeypatch, modules_of_trio):
    """Commands in this process share the bundled model's modules: to build them takes longer than most commands do. All
    else of loading is done each time. No command may leave the weights changed."""
    from acdc.model import load
    from acdc.model.sources import BUNDLED

    build = load._load_hugging_face

    def share(source, devices, dtype, held):
        if source.folder != BUNDLED["trio"] or source.adapter is not None:
            return build(source, devices, dtype, held)
        if (devices, dtype) not in modules_of_trio:
            built = build(source, devices, dtype, held)
            modules_of_trio[devices, dtype] = built, weight_sum(built[0])
        return modules_of_trio[devices, dtype][0]

    monkeypatch.setattr(load, "_load_hugging_face", share)
    yield
    for (bridge, _), before in modules_of_trio.values():
        assert weight_sum(bridge) == before


def weight_sum(bridge) -> float:
    return sum(float(weight.detach().double().abs().sum()) for weight in bridge.original_model.parameters())


@pytest.fixture
def acdc(monkeypatch, capsys, tmp_path, built_once):
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        from acdc.cli.main import main

        monkeypatch.setattr(sys, "argv", ["acdc", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Outcome(ended.value.code or 0, printed.out, printed.err)

    return run
