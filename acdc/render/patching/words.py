"""What maps are called, and what their numbers mean, in pictures, pages and on the terminal alike."""

from acdc.artefacts.patching import PatchMap, PatchRecord
from acdc.patching.sites import ABOUT, Site
from acdc.words import count_of

ZERO_ONE = {
    "denoise": ("the corrupted prompt's", "the clean prompt's"),
    "noise": ("the clean prompt's", "the corrupted prompt's"),
}


def heading(record: PatchRecord) -> str:
    return f"{record.task.name} in {record.model.name}"


def what(record: PatchRecord) -> str:
    """Metric, rows, and what was compared with the clean prompts."""
    rows = count_of(len(record.task.rows), "row")
    if record.noise is None:
        return f"activation patching, {record.metric}, {rows}"
    noise = record.noise
    samples = count_of(noise.samples, "sample")
    return f"causal tracing, {record.metric}, {rows}, noise of {noise.level:g} sigma on {noise.subject}, {samples}"


def name_of(one: PatchMap) -> str:
    """What is patched, and where."""
    meaning = ABOUT[Site(one.site)].meaning
    if one.column_kind == "head":
        return f"{meaning}, all positions together"
    return f"{meaning}, by {one.column_kind}"


def convention(one: PatchMap, record: PatchRecord) -> str:
    """What 0 and 1 are."""
    noisy = record.noise is not None
    zero, unit = ("the noisy prompt's", "the clean prompt's") if noisy else ZERO_ONE[one.direction]
    way = "restoring" if noisy else "denoising" if one.direction == "denoise" else "noising"
    window = record.noise.window if record.noise and one.site in ("attn_out", "mlp_out") else 1
    together = f", {window} layers together" if window > 1 else ""
    return f"{way}{together}: 0 is {zero} {record.metric}, 1 {unit}"


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]


def said(one: PatchMap, row: str, column: str, metric: float | None, effect: float | None) -> str:
    """A cell in words."""
    at = f"{one.row_kind} {row}, {one.column_kind} {column}"
    if effect is None:
        return f"{at}: not defined"
    value = "" if metric is None else f" (metric {metric:.4g})"
    return f"{at}: effect {effect:.3f}{value}"
