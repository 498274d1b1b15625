"""Levels as artefacts record them, under names that were changed later too."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from acdc.options import FORMER_LEVELS, Level


def renamed(level: Any) -> Any:
    """A former name's present one; anything else as it is."""
    return FORMER_LEVELS.get(level, level) if isinstance(level, str) else level


RecordedLevel = Annotated[Level, BeforeValidator(renamed)]
