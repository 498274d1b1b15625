"""What is patched where, on which rows, decided before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from acdc.errors import InputError
from acdc.model.load import Model
from acdc.options import By
from acdc.patching.cost import Cost, affordable
from acdc.patching.noise import subject_of
from acdc.patching.places import MOST_PLACES, Places, by_position, by_span, everywhere
from acdc.patching.settings import PatchSettings
from acdc.patching.sites import OF_HEADS, TRACED, USUAL, Site, usable
from acdc.task.rows import Row, Task


@dataclass(frozen=True)
class Plan:
    """`places` are those of whole layers, `head_places` those of heads; `subject`: the number of the span that gets
    noise, None where corrupted prompts are used."""

    model: Model
    sites: tuple[Site, ...]
    rows: tuple[Row, ...]
    places: Places
    head_places: Places
    subject: int | None
    cost: Cost

    @classmethod
    def of(cls, model: Model, task: Task, settings: PatchSettings) -> "Plan":
        """Raises InputError for settings that do not fit the model or the task."""
        settings.check()
        traced = settings.subject is not None
        if settings.by is By.spans:
            task.check_spans()
        most = len(task.rows) if settings.limit is None else settings.limit
        if most > len(task.rows):
            raise InputError(f"--limit {most} is more than the task's {len(task.rows)} rows")
        paired = not traced and any(row.pairing for row in task.rows[:most])
        usual, reason = TRACED if traced else USUAL, _no_patterns(model, paired)
        sites = usable(settings.sites, usual, model.anatomy, reason)
        every = _places(model, task, settings, task.rows[:most])
        columns = {site: len(every[site in OF_HEADS].names) for site in sites}
        _check_places(max(columns.values()))
        times = len(settings.directions) * (settings.samples if traced else 1)
        chosen = settings.limit is not None
        cost = affordable(model, task.rows[:most], columns, times, chosen, len(task.rows))
        rows = task.rows[: cost.rows]
        subject = None if settings.subject is None else subject_of(task, settings.subject)
        if subject is None:
            _check_corrupted(rows, settings)
        return cls(model, sites, rows, *_places(model, task, settings, rows), subject, cost)

    def places_of(self, site: Site) -> Places:
        return self.head_places if site in OF_HEADS else self.places


def _places(model: Model, task: Task, settings: PatchSettings, rows: Sequence[Row]) -> tuple[Places, Places]:
    """Those of whole layers, and those of heads."""
    spans = settings.by is not By.positions and task.span_names
    found = by_span(rows, task.span_names) if spans else by_position(rows, model.components.whole_prompts)
    return found, found if settings.heads_by_place else everywhere(rows)


def _check_places(count: int) -> None:
    if count > MOST_PLACES:
        raise InputError(
            f"the prompts have {count:,} positions, and at most {MOST_PLACES} are patched one by one: give the rows "
            "spans, or take shorter ones"
        )


def _no_patterns(model: Model, paired: bool) -> str:
    """Why patterns cannot be patched, if that is so."""
    if paired:
        return "a pattern over one prompt is none over a prompt of another length"
    if not hasattr(model.components, "patterns"):
        return "the model is run by its own modules, which keep their patterns"
    return ""


def _check_corrupted(rows: Sequence[Row], settings: PatchSettings) -> None:
    for row in rows:
        if row.pairing is not None and settings.by is By.positions:
            raise InputError(
                f"row {row.id!r} pairs its prompts by spans, whose positions are not the same: leave out --by positions"
            )
        try:
            _ = row.pairing_back
        except InputError as error:
            raise InputError(f"row {row.id!r}, from its corrupted prompt to its clean one: {error}") from None
        if row.corrupted is None:
            raise InputError(
                f"patching needs corrupted prompts, and row {row.id!r} has none: give it one, or with --subject noise "
                "in its place"
            )
