"""The report of a run of a feature circuit: one file, of the same sections as that of a circuit of components."""

from collections.abc import Mapping
from importlib import resources
from string import Template

from acdc.artefacts.feature_circuit import FeatureCircuitRecord
from acdc.artefacts.verification.report import Report
from acdc.render.features.picture import draw
from acdc.render.features.words import discovered, node_head, node_rows, subtitle, title
from acdc.render.report import sections
from acdc.render.report.curve import size_curve
from acdc.render.report.markup import Markup, element, facts, join, paragraph, safe, table
from acdc.render.subject import Subject
from acdc.render.svg import write
from acdc.render.verdict import better, claims_of, percent, verdict_of

MOST_ROWS = 200


def to_html(circuit: FeatureCircuitRecord, report: Report, command: str, pages: Mapping[str, str]) -> str:
    """The page as text. `command` made the run; `pages` say what single features mean, by their names."""
    subject = Subject.of_features(circuit)
    parts = {
        "Features": _features(circuit, report, pages),
        "Edges": _edges(circuit),
        "Faithfulness": sections.faithfulness_of(subject, report, _sizes(circuit)),
        "Tests": sections.tests(report) if report.full_verification and report.full_verification.tests else Markup(""),
        "Provenance": _provenance(circuit, command),
    }
    names = ("Verdict", "Diagram", *(name for name, part in parts.items() if part))
    return Template(_read("features", "page.html")).substitute(
        title=safe(title(circuit)),
        subtitle=safe(f"Found by {subtitle(circuit)}"),
        style=_read("report", "report.css"),
        contents=join(element("a", name, href=f"#{name.lower()}") for name in names),
        word=sections.word(report),
        verdict=safe(verdict_of(subject, report)),
        discovery=safe(discovered(circuit)),
        figures=sections.cards(_size_card(circuit), report, circuit.part_name),
        standing=sections.standing(claims_of(subject, report)),
        picture=Markup(write(draw(circuit, pages))),
        reading=safe(_reading(circuit, pages)),
        sections=join(filter(None, parts.values())),
        script=_read("report", "basics.js"),
    )


def _read(folder: str, name: str) -> str:
    return (resources.files("acdc.render") / folder / name).read_text(encoding="utf-8")


def _reading(circuit: FeatureCircuitRecord, pages: Mapping[str, str]) -> str:
    text = (
        "Layers run upwards. Blue features and edges carry the behaviour, orange ones work against it; width is the "
        "size of an edge's effect, to first order. Dashed boxes are what the dictionary leaves unexplained. Edges are "
        "between the strongest features alone."
    )
    if circuit.places:
        text += " A column is a span of the prompts, or a position."
    lead = "'acdc explain --run RUN' adds pages of what they mean."
    lead = "Choose a feature to read what it means." if pages else lead
    return f"{text} {lead}"


def _size_card(circuit: FeatureCircuitRecord) -> Markup:
    return sections.card(f"{len(circuit.nodes):,}", circuit.part_name, f"of {circuit.candidates:,} that are active")


def _features(circuit: FeatureCircuitRecord, report: Report, pages: Mapping[str, str]) -> Markup:
    shown = circuit.nodes[:MOST_ROWS]
    caption = f"By |effect|: {circuit.sign_convention}, on the discovery rows."
    if report.removals:
        caption += " The other columns: the circuit without it, on unseen rows."
    if len(shown) < len(circuit.nodes):
        caption += f" The first {MOST_ROWS} of {len(circuit.nodes):,}; feature-circuit.json has all."
    rows = [[_linked(row[0], pages), *row[1:]] for row in node_rows(report, shown)]
    head = node_head(circuit, report)
    return sections.section("features", "Features", table(caption, head, rows, words=[3] if len(head) > 2 else []))


def _linked(name: str, pages: Mapping[str, str]) -> str:
    page = pages.get(name.partition("@")[0])
    return element("a", name, href=page) if page else name


def _edges(circuit: FeatureCircuitRecord) -> Markup:
    if not circuit.edges:
        return Markup("")
    rows = [[edge.source, edge.target, f"{edge.effect:+.4g}"] for edge in circuit.edges[:MOST_ROWS]]
    caption = (
        "What of a feature's effect goes directly through another, or into the logits, to first order, mean over the "
        "discovery rows, in the sign of effects."
    )
    if len(circuit.edges) > MOST_ROWS:
        caption += f" The strongest {MOST_ROWS} of {len(circuit.edges):,}; feature-circuit.json has all."
    return sections.section("edges", "Edges", table(caption, ["from", "to", "effect"], rows, words=[1]))


def _sizes(circuit: FeatureCircuitRecord) -> Markup:
    if len(circuit.curve) < 2:
        return Markup("")
    own = (len(circuit.nodes), circuit.discovery.faithfulness)
    text = "Sizes that were tried on the discovery rows. The diamond is this circuit."
    chart = size_curve(circuit.curve, own, "feature")
    rows = [[f"{count:,}", percent(share)] for count, share in circuit.curve]
    numbers = element("details", element("summary", "numbers") + table("", ["features", "faithfulness"], rows))
    return element("figure", join([element("figcaption", text), chart, numbers]))


def _provenance(circuit: FeatureCircuitRecord, command: str) -> Markup:
    dictionary = circuit.dictionary
    rows = [
        ("model", f"{circuit.model}, sha256 {circuit.model_hash[:16]}, {circuit.dtype}"),
        ("task", f"{circuit.task}, sha256 {circuit.task_hash[:16]}"),
        ("rows", f"{len(circuit.discovery_rows)} discovery ({circuit.split}), {len(circuit.verification_rows)} unseen"),
        ("dictionary", f"{dictionary.name} ({dictionary.format}), sha256 {dictionary.digest[:16]}"),
        ("method", circuit.method + (f", {circuit.steps} steps" if circuit.steps else "")),
        ("metric", f"{circuit.metric} ({better(circuit.larger_is_better)})"),
        ("ablation", circuit.ablation),
        ("seed", str(circuit.seed)),
        ("versions", ", ".join(f"{name} {version}" for name, version in circuit.libraries.items())),
    ]
    again = element("pre", element("code", command), class_="command", tabindex="0")
    return sections.section("provenance", "Provenance", facts(rows), paragraph("To reproduce it:"), again)
