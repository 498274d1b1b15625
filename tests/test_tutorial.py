"""The tutorial runs from top to bottom, and prints what is stored with it."""

import pytest
from conftest import ROOT

TUTORIAL = ROOT / "experiments/tutorial.ipynb"
KILOBYTES = 400


def printed(notebook) -> list[list[str]]:
    """What each cell prints and, in a line, what it shows; warnings of libraries aside."""
    return [
        [
            output.text if output.output_type == "stream" else output.data["text/plain"]
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def pictures(notebook) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum(bool({"image/svg+xml", "text/html"} & set(output.get("data", {}))) for output in outputs)


def test_is_stored_with_its_outputs():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: it comes with the extra 'notebook'")
    stored = nbformat.read(TUTORIAL, as_version=4)
    nbformat.validate(stored)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert pictures(stored) >= 6
    assert TUTORIAL.stat().st_size < 1000 * KILOBYTES
    assert str(ROOT) not in TUTORIAL.read_text()


@pytest.mark.slow
def test_runs_and_prints_what_is_stored(tmp_path, monkeypatch):
    reason = "{} is not installed: it comes with the extra 'notebook'"
    nbclient = pytest.importorskip("nbclient", reason=reason.format("nbclient"))
    pytest.importorskip("ipykernel", reason=reason.format("ipykernel"))
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.chdir(tmp_path)
    stored = nbformat.read(TUTORIAL, as_version=4)
    fresh = nbformat.read(TUTORIAL, as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(fresh, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert printed(fresh) == printed(stored)
    assert pictures(fresh) == pictures(stored)
    assert not list(tmp_path.iterdir()), "it writes into a folder of its own"
