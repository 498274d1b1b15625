"""The size of a picture: as wide as a column, with labels of a size, or small enough for a page."""

import math
from dataclasses import dataclass, fields, replace

from acdc.errors import InputError
from acdc.options import Page
from acdc.render.shapes import LABEL, MILLIMETRE, Picture, Text
from acdc.render.transform import Change

PAGES = {Page.a4: (210.0, 297.0), Page.letter: (215.9, 279.4)}  # in mm
NAMES = {Page.a4: "A4", Page.letter: "US letter"}
BORDER = 15.0  # of a page, in mm
LEAST_LABEL = 5.0  # points: the least that is read on paper


@dataclass(frozen=True)
class Size:
    """`width` in mm, or the `font_size` of labels in points; on a `page` a picture gets smaller if it has to."""

    width: float | None = None
    font_size: float | None = None
    page: Page | None = None

    def __post_init__(self) -> None:
        """Raises InputError for both a width and a font size, and for values that are none."""
        if self.width is not None and self.font_size is not None:
            raise InputError("--width and --font-size both say how large the picture is: give one of them")
        if self.width is not None and not 20 <= self.width <= 2000:
            raise InputError(f"--width {self.width:g} is not between 20 and 2000 mm")
        if self.font_size is not None and not LEAST_LABEL <= self.font_size <= 72:
            raise InputError(f"--font-size {self.font_size:g} is not between {LEAST_LABEL:g} and 72 points")

    def of(self, picture: Picture) -> Picture:
        """The picture in this size. Raises InputError where any of its texts would have less than 5 points."""
        if self == AS_DRAWN:
            return picture
        factor = 1.0 if self.font_size is None else self.font_size / LABEL
        if self.width is not None:
            factor = self.width * MILLIMETRE / picture.width
        if self.page is not None:
            factor = min(factor, _on_page(picture, self.page))
        self._check(picture, factor)
        return replace(picture if factor == 1.0 else Change(factor).picture(picture), on_paper=True)

    def fits(self, picture: Picture) -> bool:
        """Whether its texts can be read as wide as this."""
        return self.width is None or self.width * MILLIMETRE / picture.width * _smallest(picture) >= LEAST_LABEL

    def _check(self, picture: Picture, factor: float) -> None:
        smallest = _smallest(picture)
        if smallest * factor >= LEAST_LABEL or (self.width is None and self.page is None):
            return
        least = math.ceil(LEAST_LABEL / smallest * picture.width / MILLIMETRE)
        what = f"a width of {self.width:g} mm" if self.page is None else f"one page of {NAMES[self.page]}"
        raise InputError(
            f"{what} would leave labels of {smallest * factor:.1f} points, which nobody can read: this picture needs a "
            f"width of {least} mm; --legend below makes most pictures narrower, and so do fewer edges"
        )


AS_DRAWN = Size()
SIZES = tuple(field.name for field in fields(Size))


def _on_page(picture: Picture, page: Page) -> float:
    """The largest factor with which a picture fits on a page, upright or turned."""
    short, long = ((side - 2 * BORDER) * MILLIMETRE for side in PAGES[page])
    return max(min(w / picture.width, h / picture.height) for w, h in ((short, long), (long, short)))


def _smallest(picture: Picture) -> float:
    """Points of its smallest text."""
    texts = [shape.size for shape in picture.behind if isinstance(shape, Text)]
    return min([*texts, *(node.label.size for node in picture.nodes)], default=LABEL)
