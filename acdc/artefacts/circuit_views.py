"""What a circuit can be shown and written as. Packages above this one draw and write: `acdc/__init__.py` says which."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc.display import show
from acdc.files import write_text

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from acdc.artefacts.verification.report import Report


class CircuitViews:
    """The part of a circuit's interface that shows it."""

    def to_networkx(self) -> "nx.DiGraph":
        """The effective circuit: components and slots as nodes, edges with `score`, wiring edges slot -> component.

        Nodes have `kind`, `layer` and `head`, the latter two -1 where there is none: embeddings and logits have no
        layer. The graph's own attributes say whose it is (`name`), the `metric`, and what a score is
        (`sign_convention`).
        """
        return show("circuit as networkx", self)

    def to_dataframe(self, what: str = "units") -> "pd.DataFrame":
        """A row for each of its units: edges, edges at spans, components, coordinates, or heads and neurons.

        `score`: see `sign_convention`. Of edges: `edge`, `writer`, `reader` (a component and the slot that reads it),
        `kind` of the slot, `writer_layer` and `reader_layer` (-1 for embeddings, the number of layers for the logits),
        and `effective`: whether it is on a path from the input to the logits, so that it counts. At spans, also `from`
        and `to`. Of other units: `unit`, `kind`, `layer`. `what="edges"`: the edges of a circuit of other units, with
        no score, as no method gave these edges one. Raises InputError for another word, and without pandas.
        """
        return show("circuit as data frame", self, what)

    def plot(self, axes: Any = None, **look: Any) -> Any:
        """Draw the picture with matplotlib, into `axes` or a figure of its size; returns the axes. `look`: as in
        `acdc.draw`. Raises InputError without matplotlib."""
        return show("circuit with matplotlib", self, axes, look)

    def explore(self, report: "Report | None" = None) -> Any:
        """The interactive page about it, which a notebook shows and `save` writes; `report`: what verification found.
        In the page of a run are example rows too: `acdc discover` writes that."""
        return show("circuit explorer", self, report)

    def export(self, format: str, path: str | Path, *, scores: Mapping[str, float] | None = None) -> list[str]:
        """Write it in a format of another tool, such as "eap-ig" or "mib" (`acdc.formats()` lists all); returns what
        the format cannot say, in sentences.

        `scores`: of every candidate (`Result.scores`), for formats that have room for what is not in the circuit.
        Raises InputError for a format that there is not, for one that needs a run of the command line, and for what it
        cannot hold.
        """
        found: list[str] = show("circuit in a format", self, format, path, scores)
        return found

    def to_dot(self) -> str:
        """The picture as DOT text."""
        return str(show("circuit as DOT", self))

    def to_svg(self, path: str | Path) -> None:
        """Write the picture as SVG; needs no Graphviz."""
        write_text(Path(path), self._repr_svg_())

    def to_picture(
        self,
        path: str | Path,
        *,
        fixed: bool = False,
        group: str = "layer",
        report: "Report | None" = None,
        **more: Any,
    ) -> None:
        """Write the picture as the suffix says: .svg, .dot, or through Graphviz .pdf or .png.

        `fixed`: every component of the model has its own place, the same in the pictures of all its circuits. `group`
        "role": heads that do the same stand together, as the `report` of a full verification says. `more`: `detail`,
        `landscape`, `legend`, `title`, `colours` and `names` as in `acdc.draw`, and the size: `width` in mm or
        `font_size` of labels in points, and a `page` ("a4" or "letter") that it fits on. Raises InputError for another
        suffix or value, without Graphviz, and where the report does not say what heads do.
        """
        show("circuit in a file", self, path, fixed, group, report, more)

    def _repr_svg_(self) -> str:
        """What notebooks show."""
        return str(show("circuit as SVG", self))
