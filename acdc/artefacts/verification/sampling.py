"""What the intervals and tests of a verification take for independent."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from acdc.words import count_of

Unit = Literal["row", "prompt", "group"]
FEWEST_UNITS = 8  # fewer say little about others of their kind: no interval is made of them, and nothing is claimed


class Sampling(BaseModel):
    """`units`: how many of what is resampled there are among the `rows`. `too_few_groups`: how many groups the rows
    share, where these are too few to be resampled, else 0."""

    model_config = ConfigDict(frozen=True)

    unit: Unit
    units: int
    rows: int
    too_few_groups: int = 0

    @property
    def text(self) -> str:
        """What was resampled, in a sentence without its full stop."""
        if self.unit != "row":
            return (
                f"{count_of(self.units, self.unit)} of {count_of(self.rows, 'row')} were resampled, as rows share them"
            )
        text = f"{count_of(self.rows, 'row')} were resampled"
        if self.too_few_groups:
            groups = count_of(self.too_few_groups, "group")
            text += f"; they share {groups}, too few to resample: results hold for rows of these groups"
        return text
