"""A run served to the browser of this machine: who may ask, what is kept, and a job that is watched while it runs."""

import http.client
import json
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.runs.live import live_page
from acdc.runs.progress_file import EVERY, forget, read_progress, recorded
from acdc.runs.run_directory import PROGRESS, RUN_FILE
from acdc.runs.serving import LOOPBACK, MOST_BYTES, RunServer


@pytest.fixture
def run(acdc) -> Path:
    words = ("--task", "induction", "--limit", 8, "--method", "eap", "--edges", 20, "--verify", "quick")
    assert acdc("discover", *words, "--verify-rows", 8, "--out", "run").code == 0
    return Path("run").resolve()


@pytest.fixture
def server(run):
    with RunServer(run) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path: str, method: str = "GET", body: str | None = None, **headers: str):
    """(status, headers, text)."""
    connection = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


def send(server, names: object):
    return ask(server, f"/{server.token}/names", "POST", urlencode({"names": json.dumps(names)}))


def test_it_is_bound_to_loopback_and_asks_for_its_token(server, run):
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 32
    status, headers, text = ask(server, f"/{server.token}/")
    assert status == 200 and "The circuit</h2>" in text
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    for path in ("/", "/report.html", "/wrong/", f"/{server.token[:-1]}/", f"/{server.token}"):
        assert ask(server, path)[0] == 403
    assert ask(server, f"/{server.token}/", Host="elsewhere.example")[0] == 403, "a name bound anew"
    for path in ("run.json", "../run.json", "%2e%2e/run.json", "circuit.json"):
        assert ask(server, f"/{server.token}/{path}")[0] == 404
    with RunServer(run) as other:
        assert other.token != server.token


def test_names_are_kept_in_the_run(acdc, server, run):
    names = {"names": {"m0": "first </script><b>"}, "roles": {"a1.h0": "previous token"}}
    status, headers, _ = send(server, names)
    assert status == 303 and headers["Location"] == "report.html#diagram"
    assert json.loads((run / "names.json").read_text()) == names
    assert "first \\u003c/script>\\u003cb>" in (run / "report.html").read_text()
    assert acdc("show", "run").code == 0, "the run is still whole"
    for bad, why in (
        ({"names": {"m99": "x"}}, "m99"),
        ({"names": {"m0": "x" * 41}}, "1 to 40 characters"),
        ({"other": {}}, "names.json"),
        ([], "names.json"),
    ):
        status, _, text = send(server, bad)
        assert status == 409 and why in text
    assert json.loads((run / "names.json").read_text()) == names, "what is refused changes nothing"


def test_what_cannot_be_names_is_refused(server):
    path = f"/{server.token}/names"
    for length in (str(MOST_BYTES + 1), "-1", "ten"):
        assert ask(server, path, "POST", "x", **{"Content-Length": length})[0] == 400
    assert ask(server, f"/{server.token}/circuit.json", "POST", "names={}")[0] == 400
    assert ask(server, "/wrong/names", "POST", "names={}")[0] == 403
    assert ask(server, path, "POST", "names=%ff")[0] == 409


def test_a_running_job_is_watched(server, run, monkeypatch):
    record = json.loads((run / RUN_FILE).read_text())
    command = "acdc discover --task '<b>'"
    (run / RUN_FILE).write_text(json.dumps(record | {"status": "running", "command": command}))
    page = ask(server, f"/{server.token}/")[2]
    assert "run is running" in page and "No stage has taken long enough" in page
    assert "&lt;b&gt;" in page and "<b>" not in page and "<script" not in page and "href='report.html'" in page
    with recorded(_told, run)("pruning", 100, "edges") as advance:
        monkeypatch.setattr("acdc.runs.progress_file.EVERY", 0)
        advance(25, "3 <kept>")
    assert _told.seen == [(25, "3 <kept>")]
    page = ask(server, f"/{server.token}/")[2]
    assert "pruning: 25 of 100 edges" in page and "value='0.2500'" in page and "3 &lt;kept&gt;" in page
    forget(run)
    assert not (run / PROGRESS).exists() and read_progress(run) is None
    (run / PROGRESS).write_text("{")
    assert "No stage has taken long enough" in live_page(run)


def _told(what, total, unit):
    from contextlib import nullcontext

    _told.seen = []
    return nullcontext(lambda done, note="": _told.seen.append((done, note)))


def test_progress_is_written_now_and_then_and_gone_at_the_end(acdc, monkeypatch):
    from acdc.runs import progress_file

    written = []
    monkeypatch.setattr(progress_file, "EVERY", 0)
    monkeypatch.setattr(progress_file, "write_json", lambda path, value: written.append((path.name, value["what"])))
    assert acdc("discover", "--task", "induction", "--limit", 4, "--verify", "quick", "--out", "run").code == 0
    assert {name for name, _ in written} == {PROGRESS} and EVERY == 2 and not Path("run", PROGRESS).exists()


def test_the_browser_edits_and_saves(server, run, browser):
    head = next(edge.id.split("->")[0] for edge in Circuit.load(run).edges if edge.id.startswith("a"))
    page = browser.new_page()
    page.goto(server.address)
    page.click(f'[data-id="{head}"]')
    page.click("#details .names summary")
    page.fill("#details [data-names='names']", "mover <i>")
    page.fill("#details [data-names='roles']", "name mover")
    page.click("#details .naming button")
    assert page.locator(f'[data-id="{head}"] text').text_content() == "mover <i>"
    assert "Not saved yet." in page.inner_text("#details")
    page.click("text=Save in the run")
    page.wait_for_url("**/report.html#diagram")
    assert page.locator(f'[data-id="{head}"] text').text_content() == "mover <i>"
    assert json.loads((run / "names.json").read_text()) == {"names": {head: "mover <i>"}, "roles": {head: "name mover"}}
    page.close()


def test_a_port_that_is_taken_is_refused(server, run):
    with pytest.raises(InputError, match="leave --port out"):
        RunServer(run, server.server_port)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("open", "run", "--port", 9), "--port is of --serve"),
        (("open", "run", "--serve", "--json"), "--json cannot be used"),
        (("open", "nowhere", "--serve"), "does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(acdc, words, why):
    done = acdc(*words)
    assert done.code == 2 and why in done.err and done.err.count("\n") == 1
