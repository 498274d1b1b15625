"""A number with its interval over rows."""

from pydantic import BaseModel, ConfigDict


class Interval(BaseModel):
    """A number with an interval that covers 95 % of bootstrap resamples of the rows; None where it is not defined,
    or where there are fewer rows than `FEWEST_UNITS`."""

    model_config = ConfigDict(frozen=True)

    low: float | None
    value: float | None
    high: float | None

    @property
    def negated(self) -> "Interval":
        """Of the number with the other sign."""
        low, value, high = (None if end is None else -end for end in (self.high, self.value, self.low))
        return Interval(low=low, value=value, high=high)


def unknown(value: float) -> Interval:
    """A number whose interval is not known."""
    return Interval(low=None, value=value, high=None)
