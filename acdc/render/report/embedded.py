"""The page about a circuit inside a notebook: a frame of its own, which can reach nothing around it."""

import html
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.verification import GraphVerification
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.report import Report, unverified
from acdc.files import write_text
from acdc.render.attribution.page import to_html as graph_page
from acdc.render.report.page import to_html

HEIGHT = 900  # pixels


@dataclass(frozen=True)
class Explorer:
    """The page, as text."""

    page: str

    def save(self, path: str | Path) -> None:
        """Write the page, for any browser."""
        write_text(Path(path), self.page)

    def __repr__(self) -> str:
        return f"<Explorer: a page of {len(self.page):,} characters; a notebook shows it, save() writes it>"

    def _repr_html_(self) -> str:
        """What notebooks show: scripts run, but with no access to the notebook, and no request leaves the frame."""
        # The page is text of this package's own making, so it is quoted as it is.
        style = f"width:100%;height:{HEIGHT}px;border:0"
        frame = f'<iframe sandbox="allow-scripts allow-downloads" style="{style}"'
        return f'{frame} srcdoc="{html.escape(self.page)}"></iframe>'


def explore_graph(graph: AttributionGraph, verification: GraphVerification | None = None) -> Explorer:
    """The page about an attribution graph."""
    return Explorer(graph_page(graph, graph.prune(), verification))


def explore(circuit: Circuit, report: Report | None = None) -> Explorer:
    """The page about a circuit, and about its verification where there is one."""
    found = report or unverified(circuit.metric, circuit.ablation, circuit.edges_effective, circuit.edges_total)
    return Explorer(to_html(circuit, found, None))
