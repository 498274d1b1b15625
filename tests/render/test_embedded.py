"""The page about a circuit in a frame of a notebook."""

import html
import re

from circuits import SMALL, quick_report, random_circuit

from acdc.render.report import to_html


def test_it_works_in_its_frame(show):
    circuit, _ = random_circuit(40, SMALL)
    explorer = circuit.explore(quick_report(circuit))
    text = f"<!DOCTYPE html><html><body>{explorer._repr_html_()}</body></html>"
    page = show(text)
    frame = page.frame_locator("iframe")
    frame.locator("#graph .node").first.wait_for()
    frame.locator(".node.attention").first.click()
    assert "edges among" in frame.locator("#details").inner_text()
    inner = next(frame for frame in page.frames if frame.parent_frame)
    assert inner.evaluate("(() => { try { return parent.document.title } catch { return 'shut' } })()") == "shut"


def test_it_is_the_page_of_a_run_less_its_command(tmp_path):
    circuit, _ = random_circuit(40, SMALL)
    report, path = quick_report(circuit), tmp_path / "page.html"
    explorer = circuit.explore(report)
    explorer.save(path)
    page = path.read_text()
    of_run = to_html(circuit, report, "acdc discover")
    assert page == re.sub(r"\s*<p>To reproduce it:</p>\s*<pre.*?</pre>", "", of_run) != of_run
    quoted = re.search('srcdoc="([^"]*)"', explorer._repr_html_())[1]
    assert html.unescape(quoted) == page and "characters" in repr(explorer)


def test_without_a_report_nothing_is_said_to_be_verified():
    circuit, _ = random_circuit(40, SMALL)
    assert "Untested" in circuit.explore().page
