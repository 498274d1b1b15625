"""What reads artefacts and prints them needs no torch: each is tried in an interpreter of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import command_in

from acdc.idle_threads import SPINS, short_waits

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "transformer_lens", "ray", "matplotlib", "networkx")
LIGHT = ("graph", "artefacts", "render")

# Each module by itself: were all imported in one go, the first to bring torch would be blamed for all that follow.
IMPORTING = f"""
import importlib, json, sys
found, ours = {{}}, set()
for module in sys.argv[1:]:
    importlib.import_module(module)
    ours.add(module)
    brought = [name for name in {HEAVY} if name in sys.modules]
    if brought:
        found[module] = brought
        for name in list(sys.modules):
            if name.split(".")[0] in {HEAVY} + ("acdc",):
                del sys.modules[name]
print(json.dumps(found))
"""

COMMAND = f"""
import json, sys
from acdc.cli.main import main
try:
    main()
except SystemExit as ended:
    code = ended.code
print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]), file=sys.stderr)
"""


def fresh(program: str, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=True)


def test_artefacts_graphs_and_pictures_import_no_torch():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in LIGHT
        for path in sorted((ROOT / "acdc" / package).rglob("*.py"))
    ]
    assert len(modules) > 50
    assert json.loads(fresh(IMPORTING, *modules).stdout) == {}


def test_a_heavy_import_is_seen():
    assert json.loads(fresh(IMPORTING, "acdc.graph", "acdc.task.metrics", "acdc.artefacts").stdout) == {
        "acdc.task.metrics": ["torch"]
    }


@pytest.mark.parametrize(
    "words",
    [("show", "RUN"), *(("list", what) for what in ("models", "tasks", "methods", "suites", "formats", "runs"))],
    ids=" ".join,
)
@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_showing_and_listing_import_nothing_heavy(words, as_json, run):
    words = [str(run) if word == "RUN" else word for word in words]
    ended = fresh(COMMAND, *words, *["--json"] * as_json, cwd=run.parent.parent)
    assert json.loads(ended.stderr.splitlines()[-1]) == [0, []]
    assert ended.stdout.strip()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A verified run, in a folder `runs`."""
    folder = tmp_path_factory.mktemp("startup")
    options = ["--model", "trio", "--task", "ioi", "--method", "eap", "--edges", "20", "--limit", "16"]
    command_in(folder, "discover", *options, "--out", "runs/one")
    return folder / "runs/one"


def test_idle_threads_spin_briefly_unless_the_environment_says_how_they_wait():
    assert short_waits({}) == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS}
    assert short_waits({"GOMP_SPINCOUNT": "7"}) == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "7"}
    assert short_waits({"OMP_WAIT_POLICY": "ACTIVE"}) == {}
