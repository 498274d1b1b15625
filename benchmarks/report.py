"""The HTML report in a browser: bytes, seconds until it is drawn, and how long the threshold slider takes to answer.

    python benchmarks/report.py [--edges 10,200,2000,5000] [--repeats 5]

Circuits are random ones of GPT-2 small's shape, with scores of all 32,491 candidate edges. A page counts as open when
its first frame after loading has been drawn. The slider is set to 25 thresholds from few edges to many, with all of
them drawn, and has answered when the next frame has been; the table has the median and the worst. It needs playwright
and Chromium.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name
sys.path.append(str(Path(__file__).parent.parent / "tests"))

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]
DRAWN = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
SLIDE = """place => new Promise(done => {
  const slider = document.getElementById("threshold"), since = performance.now();
  slider.value = Math.round(place * slider.max);
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - since)));
})"""


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser()
    parser.add_argument("--edges", default="10,200,2000,5000")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed")
    print("| edges | KB | page made, s | open, s | slider, ms, median | worst |\n|---|---|---|---|---|---|")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        for edges in map(int, options.edges.split(",")):
            print(_measure(browser, Path(folder) / f"{edges}.html", edges, options.repeats), flush=True)
        browser.close()


def _measure(browser, path: Path, edges: int, repeats: int) -> str:
    from circuits import GPT2, quick_report, random_circuit

    from acdc.render.report import to_html

    circuit, scores = random_circuit(edges, GPT2)
    since = time.perf_counter()
    path.write_text(to_html(circuit, quick_report(circuit), "acdc discover", scores))
    made, opened = time.perf_counter() - since, []
    for _ in range(repeats):
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        since = time.perf_counter()
        page.goto(path.as_uri())
        page.evaluate(DRAWN)
        opened.append(time.perf_counter() - since)
        page.click("#as-graph")  # the slower view, and not what the page shows by itself of many edges
        answers = [page.evaluate(SLIDE, place / 24) for place in range(25)]
        page.close()
    size = path.stat().st_size / 1000
    numbers = f"{made:.2f} | {statistics.median(opened):.2f} | {statistics.median(answers):.0f} | {max(answers):.0f}"
    return f"| {len(circuit.edges):,} | {size:,.0f} | {numbers} |"


if __name__ == "__main__":
    main()
