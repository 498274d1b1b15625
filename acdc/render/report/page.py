"""Put the page together: texts and tables made here, the diagram by the scripts beside this file."""

import json
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.names import NO_NAMES, Names
from acdc.artefacts.verification.examples import Examples
from acdc.artefacts.verification.report import Report
from acdc.render.report import extras, sections
from acdc.render.report.examples import example_data, examples_section, first_example
from acdc.render.report.explorer import explorer_data
from acdc.render.report.markup import Markup, element, join, safe
from acdc.render.report.spans import KINDS, by_position, picture_colours, position_data, switch
from acdc.render.style import EDGE_COLOUR, NODE_FILL, NODE_LINE, title
from acdc.render.verdict import claims, verdict

SCRIPTS = (
    "basics.js",
    "graph.js",
    "ways.js",
    "places.js",
    "diagram.js",
    "heatmap.js",
    "names.js",
    "details.js",
    "summary.js",
    "explorer.js",
    "positions.js",
    "patterns.js",
    "lens.js",
    "page.js",
)


def to_html(
    circuit: Circuit,
    report: Report,
    command: str | None,
    scores: np.ndarray | None = None,
    examples: Examples | None = None,
    names: Names = NO_NAMES,
    pages: Mapping[str, str] | None = None,
    save: str | None = None,
) -> str:
    """The page as text.

    `command` made the run, None where it was no command; `scores` [edges]: of all candidate edges, where the run has
    them. `pages`: of what units mean, by their ids, as paths from the run's folder. `save`: where a page that is served
    sends the names that its reader edits; of a file, they can be downloaded.
    """
    parts = {
        "Edges": sections.parts(circuit, report),
        "Faithfulness": sections.faithfulness(circuit, report),
        "Tests": sections.tests(report),
        "Stability": sections.stability(report),
        "Resamples": extras.bootstraps(report),
        "Specificity": extras.specificity(report),
        "Rivals": extras.rivals(report),
        "Mechanism": sections.mechanism(report),
        "Examples": examples_section(examples, circuit),
        "How it was made": sections.provenance(circuit, command),
    }
    return Template(_read("page.html")).substitute(
        title=safe(title(circuit)),
        heading=safe(f"{circuit.task.name} in {circuit.model.name}"),
        subtitle=safe(f"Found by {circuit.method.name} on {circuit.metric}, {circuit.ablation} ablation"),
        example=first_example(examples),
        colours=_colours() + picture_colours(circuit),
        style=_read("report.css"),
        word=sections.word(report),
        verdict=safe(verdict(circuit, report)),
        figures=sections.figures(circuit, report),
        standing=sections.standing(claims(circuit, report)),
        switch=switch(circuit),
        by_position=by_position(circuit, examples),
        sections=join(filter(None, parts.values())),
        contents=_contents(parts, circuit),
        data=_json(
            {
                "graph": explorer_data(circuit, report, scores, names) | ({"pages": dict(pages)} if pages else {}),
                "positions": position_data(circuit, report),
                "examples": example_data(examples),
                "save": save,
            }
        ),
        script="\n".join(_read(name) for name in SCRIPTS),
    )


def _read(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON for a script element, which no text in it can end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _colours() -> str:
    """The colours of all pictures, as variables of the style sheet."""
    values = {f"edge-{name}": EDGE_COLOUR[kind] for name, kind in KINDS.items()}
    for kind, fill in NODE_FILL.items():
        values |= {f"fill-{kind}": fill, f"line-{kind}": NODE_LINE[kind]}
    return ":root{" + "".join(f"--{name}:{value};" for name, value in values.items()) + "}"


def _contents(parts: Mapping[str, Markup], circuit: Circuit) -> Markup:
    ids = {"Edges": "parts", "How it was made": "provenance"}
    links = [element("a", "Verdict", href="#verdict"), element("a", "Diagram", href="#diagram")]
    for name, part in parts.items():
        if part:
            said = circuit.part_name.capitalize() if name == "Edges" else name
            links.append(element("a", said, href=f"#{ids.get(name, name.lower())}"))
    return join(links)
