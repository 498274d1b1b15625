"""Pictures in the formats that Graphviz writes: PDF for papers, PNG for slides."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import graphviz

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.files import write_bytes
from acdc.render import dot, svg
from acdc.render.look import PLAIN, Look, choose_look
from acdc.render.scale import AS_DRAWN, SIZES, Size
from acdc.render.shapes import Picture
from acdc.render.views import draw

FORMATS = ("svg", "dot", "pdf", "png")
DPI, MOST_PIXELS = 200, 6_000
INCH = 72.0
_LISTED = ", ".join(f".{name}" for name in FORMATS)
_NEEDS = (
    "needs Graphviz, whose program 'dot' was not found: install it (apt install graphviz, brew install graphviz, or "
    "from graphviz.org), or take svg, which needs nothing"
)
_DATE = re.compile(rb"(?<=/CreationDate \(D:)\d{14}")


def format_of(path: Path) -> str:
    """The format that a file's suffix names. Raises InputError for any other suffix."""
    format = path.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise InputError(f"{path.name} does not say what kind of picture it is: its suffix is none of {_LISTED}")
    return format


def to_picture(circuit: Circuit, format: str, look: Look = PLAIN, size: Size = AS_DRAWN) -> bytes:
    """The effective circuit in a format: the same picture in each.

    PNG has 200 dots per inch, or fewer so that no side has more than 6,000. The same circuit gives the same bytes with
    the same version of Graphviz. Raises InputError for another format than `svg`, `dot`, `pdf` and `png`, and where one
    of the latter two is asked for and Graphviz is not installed.
    """
    return write(draw(circuit, look, size), format)


def write(picture: Picture, format: str) -> bytes:
    """A picture in a format, as `to_picture` gives it."""
    match format:
        case "svg":
            return svg.write(picture).encode()
        case "dot":
            return dot.write(picture).encode()
        case "pdf" | "png":
            return _render(picture, format)
    raise InputError(f"{format!r} is not one of the formats of pictures: {', '.join(FORMATS)}")


def check_writable(format: str) -> None:
    """Raises InputError for a format that this machine cannot write."""
    if format in ("pdf", "png") and shutil.which("dot") is None:
        raise InputError(f"{format} {_NEEDS}")


def save(picture: Picture, path: Path) -> None:
    """Write a picture as the suffix of a path says, atomically."""
    write_bytes(path, write(picture, format_of(path)))


def save_circuit(
    circuit: Circuit, path: str | Path, fixed: bool, group: str, report: Report | None, more: Mapping[str, Any]
) -> None:
    """Draw a circuit into a file: see `Circuit.to_picture`."""
    around = {name: value for name, value in more.items() if name not in SIZES}
    size = Size(**{name: value for name, value in more.items() if name in SIZES})
    save(draw(circuit, choose_look(circuit, fixed, group, report, **around), size), Path(path))


def _render(picture: Picture, format: str) -> bytes:
    dots = min(DPI, MOST_PIXELS * INCH / max(picture.width, picture.height))
    text = dot.write(picture, dots if format == "png" else None)
    try:
        made = graphviz.pipe("dot", format, text.encode(), quiet=True)
    except graphviz.ExecutableNotFound:
        raise InputError(f"{format} {_NEEDS}") from None
    except graphviz.CalledProcessError as error:
        reason = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        raise InputError(f"Graphviz cannot write this picture as {format}: {reason[0] if reason else error}") from None
    return _DATE.sub(b"19700101000000", made)
