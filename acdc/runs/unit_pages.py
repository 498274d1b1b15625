"""Pages of what single units mean, which a run's report leads to: `units/UNIT.html` in its folder."""

from collections.abc import Mapping
from pathlib import Path

FOLDER = "units"


def pages_of(path: Path) -> Mapping[str, str]:
    """Pages by unit, as paths from the run's folder."""
    return {page.stem: f"{FOLDER}/{page.name}" for page in sorted((path / FOLDER).glob("*.html"))}
