"""All maps of a run in one page: pictures whose cells can be read by pointing at them, and the numbers as tables."""

from importlib import resources
from string import Template

from acdc.artefacts.patching import PatchMap, PatchRecord
from acdc.render import svg
from acdc.render.patching.heat_map import draw
from acdc.render.patching.words import heading, name_of, sentence, what
from acdc.render.report.markup import Markup, element, facts, join, safe

_TOLD = {
    "denoise": "Denoising: the corrupted prompt is run with one part of the clean run in it. 0 means that the metric "
    "stays that of the corrupted prompt, 1 that it becomes the clean prompt's.",
    "noise": "Noising: the clean prompt is run with one part of the corrupted run in it. 0 means that the metric stays "
    "that of the clean prompt, 1 that it becomes the corrupted prompt's.",
    "restore": "Causal tracing: the clean prompt is run with noise on the embeddings of one span, and one part of the "
    "clean run in it. 0 means that the metric stays as it is with noise, 1 that it becomes the clean prompt's.",
}


def to_html(record: PatchRecord, command: str) -> str:
    """The page as text; `command` made the run."""
    told = [_TOLD[way] for way in (["restore"] if record.noise else record.convention)]
    return Template((resources.files(__package__) / "page.html").read_text(encoding="utf-8")).substitute(
        title=safe(f"{heading(record)}: {what(record)}"),
        heading=safe(heading(record)),
        subtitle=safe(f"{sentence(what(record))}. {' '.join(told)}"),
        contents=join(element("a", one.name, href=f"#{one.name}") for one in record.maps),
        maps=join(_map(one, record) for one in record.maps),
        facts=facts(_facts(record, command)),
    )


def _map(one: PatchMap, record: PatchRecord) -> Markup:
    picture = Markup(svg.write(draw(one, record)))
    numbers = element("details", element("summary", "numbers") + _table(one))
    return element("figure", picture + numbers, id=one.name, aria_label=name_of(one))


def _table(one: PatchMap) -> Markup:
    head = element("tr", join(element("th", name, scope="col") for name in (one.row_kind, *one.columns)))
    rows = (
        element("tr", element("th", name, scope="row") + join(element("td", _number(effect)) for effect in effects))
        for name, effects in zip(one.rows, one.effect, strict=True)
    )
    return element("table", element("thead", head) + element("tbody", join(rows)))


def _number(effect: float | None) -> str:
    return "" if effect is None else f"{effect:.3f}"


def _facts(record: PatchRecord, command: str) -> list[tuple[str, str]]:
    model, task = record.model, record.task
    found = [
        ("command", command),
        ("model", f"{model.name} ({model.family}), sha256 {model.content_hash[:16]}, {record.dtype}"),
        ("task", f"{task.name}, sha256 {task.content_hash[:16]}, rows {task.rows[0]} to {task.rows[-1]}"),
        (record.metric, f"{record.metric_clean:.4g} clean, {record.metric_corrupted:.4g} {_other(record)}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
    ]
    if record.noise:
        noise = record.noise
        found.append(("noise", f"standard deviation {noise.level:g} x {noise.sigma:.4g}, seed {record.seed}"))
    return found


def _other(record: PatchRecord) -> str:
    return "with noise" if record.noise else "corrupted"
