"""The commands that write circuits for other tools and read theirs: export, import."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import say, say_json
from acdc.cli.job_options import DECIDING, SCORING, takes_job
from acdc.errors import InputError
from acdc.options import Colouring, Detail, Grouping, Legend, Page

if TYPE_CHECKING:
    from acdc.runs.spec import DiscoveryJob

FormatName = Annotated[
    str, typer.Option("--format", help="Format of the file; see 'acdc list formats'.", metavar="NAME")
]


def export(
    run: opt.RunPath,
    format: FormatName,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; for mib, a folder. Must be given.", metavar="FILE")
    ] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Pictures: give every component of the model a fixed place.")
    ] = False,
    group: Annotated[
        Grouping, typer.Option(help="Pictures: group heads by layer, or by role, which needs 'acdc verify'.")
    ] = Grouping.layer,
    supernodes: Annotated[
        Path | None,
        typer.Option(
            help='Attribution graphs: put nodes together as this JSON file says, {"name": ["m3.n244@12", ...]}.',
            metavar="FILE",
        ),
    ] = None,
    detail: Annotated[
        Detail, typer.Option(help="Pictures: every edge, or a summary; auto: what can be read.")
    ] = Detail.auto,
    landscape: Annotated[bool, typer.Option("--landscape", help="Pictures: layers run to the right.")] = False,
    legend: Annotated[Legend, typer.Option(help="Pictures: where the legend is.")] = Legend.right,
    title: Annotated[bool, typer.Option("--title/--no-title", help="Pictures: with a title.")] = True,
    colours: Annotated[
        Colouring, typer.Option(help="Pictures: colour edges by the input they lead into, or by score.")
    ] = Colouring.input,
    width: Annotated[
        float | None, typer.Option(help="Pictures: so wide, such as 85 for a column.", metavar="MM")
    ] = None,
    font_size: Annotated[float | None, typer.Option(help="Pictures: size of labels.", metavar="POINTS")] = None,
    page: Annotated[Page | None, typer.Option(help="PDF: no larger than a page.")] = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Write a run's circuit or scores as a picture or for another tool."""
    from acdc.runs.exchange import export_run

    if out is None:
        raise InputError("--out is missing: name the file to write; 'acdc list formats' shows what --format can be")

    looks = {"detail": detail, "landscape": landscape, "legend": legend, "title": title, "colours": colours}
    plain = {"detail": Detail.auto, "landscape": False, "legend": Legend.right, "title": True}
    plain |= {"colours": Colouring.input}
    sizes = {"width": width, "font_size": font_size, "page": page}
    more = {name: value for name, value in (looks | sizes).items() if value != plain.get(name)}
    exported = export_run(run, format, out, fixed, group, supernodes, **more)
    if as_json:
        files = [str(path) for path in exported.files]
        say_json({"written": str(out), "format": format, "files": files, "lost": list(exported.lost)})
        return
    for path in exported.files:
        say(f"wrote {path}")


@takes_job(without=("method", "bootstrap", "hurting", "option", *SCORING, *DECIDING))
def import_(
    job: "DiscoveryJob",
    file: Annotated[Path, typer.Argument(help="File from another tool; for mib, its file or folder.", metavar="FILE")],
    format: FormatName,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Import a circuit from another tool, verify it on unseen rows and draw it. If the file has only scores, choose a
    circuit as discover does."""
    from acdc.cli.progress import bars
    from acdc.cli.show_run import RunPrinter
    from acdc.runs.importing import run_import

    printer = RunPrinter(as_json)
    printer.finish(run_import(file, format, job, out, bars, printer))
