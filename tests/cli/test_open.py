"""acdc open: a run's report, and a page about all runs of a folder."""

import json
import webbrowser

import pytest

from acdc.artefacts.circuit import Circuit


@pytest.fixture
def opened(monkeypatch):
    addresses = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


@pytest.fixture
def runs(acdc, tmp_path):
    for name, edges in (("few", 9), ("many", 20)):
        words = ("--task", "induction", "--limit", 8, "--method", "eap", "--edges", edges, "--verify", "quick")
        assert acdc("discover", *words, "--verify-rows", 8, "--out", f"runs/{name}").code == 0
    return tmp_path / "runs"


def test_a_run_and_a_folder(acdc, runs, opened, browser):
    head = next(edge.id for edge in Circuit.load(runs / "few").edges if edge.id.startswith("a")).split("->")[0]
    (runs / "few/names.json").write_text(json.dumps({"names": {head: "my head"}}))
    done = acdc("open", "runs/few")
    assert done.code == 0 and opened == [(runs / "few/report.html").as_uri()]
    assert "my head" in (runs / "few/report.html").read_text()
    assert acdc("show", "runs/few").code == 0, "it is still as its run wrote it"
    assert acdc("open", "runs", "--no-browser").out.strip() == "page  runs/index.html" and len(opened) == 1
    page = browser.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or problems.append(request.url))
    page.goto((runs / "index.html").as_uri())
    few, many = (Circuit.load(runs / name) for name in ("few", "many"))
    assert page.locator("tbody tr").count() == 2 and page.locator("img").count() == 2
    assert f"{few.size} of 479" in page.inner_text("tbody")
    page.fill("#filter", "many")
    assert page.locator("tbody tr:visible").count() == 1 and page.inner_text("#shown") == "1 of 2"
    page.fill("#filter", "")
    page.click("thead button >> text=size")
    assert page.locator("tbody th").all_inner_texts() == ["many", "few"]
    for box in page.locator("tbody input").all():
        box.check()
    ours, theirs = ({edge.id for edge in circuit.effective} for circuit in (few, many))
    assert f"share {len(ours & theirs)} of {len(ours | theirs)} edges" in page.inner_text("#told")
    assert page.locator("#both section").count() == 3
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()
    assert problems == []


def test_what_is_no_run_is_refused(acdc, tmp_path, opened):
    (tmp_path / "empty").mkdir()
    for words in (("open", "empty"), ("open", "nowhere")):
        done = acdc(*words)
        assert done.code == 2 and "is no run and holds none" in done.err
    assert opened == []
