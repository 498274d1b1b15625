"""The command open."""

import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import say, say_json
from acdc.errors import InputError


def open_(
    path: Annotated[Path, typer.Argument(help="Run directory, or a folder of runs.", metavar="RUN")],
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page, or only write it.")] = True,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Serve the run to this machine's browser until Ctrl-C: names edited in the page are kept in the run, "
            "and a running job is watched.",
        ),
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="With --serve: the port, by default any that is free.", min=1, max=65535)
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Show a run's report in the browser, or a page about all runs in a folder. The pages are files, and nothing is
    served without --serve."""
    if serve:
        if as_json:
            raise InputError("--json cannot be used with --serve, which goes on until it is interrupted")
        _serve(path, port or 0, browser)
        return
    if port is not None:
        raise InputError("--port is of --serve: give both or none")
    from acdc.artefacts.circuit import FILE_NAME as CIRCUIT
    from acdc.files import is_there
    from acdc.runs.index import write_index
    from acdc.runs.live import is_running
    from acdc.runs.page import renew_page
    from acdc.runs.run_directory import RUN_FILE

    is_run = is_there(path / RUN_FILE)
    if is_run and is_running(path) and not is_there(path / CIRCUIT):
        raise InputError(f"run {path} has no circuit yet: 'acdc open {path} --serve' watches it")
    page = renew_page(path) if is_run else write_index(path)
    if as_json:
        say_json({"page": str(page)})
    else:
        say(f"page  {page}")
    if browser and not webbrowser.open(page.resolve().as_uri()):
        say("no browser was found: open the page by hand")


def _serve(path: Path, port: int, browser: bool) -> None:
    from acdc.runs.live import is_running
    from acdc.runs.page import report_of_run
    from acdc.runs.serving import RunServer

    if not is_running(path):
        report_of_run(path)  # what cannot be shown is refused here, not in the browser
    with RunServer(path, port) as server:
        say(f"address  {server.address}")
        say("for this machine only; Ctrl-C ends it")
        if browser and not webbrowser.open(server.address):
            say("no browser was found: open the address by hand")
        with suppress(KeyboardInterrupt):  # that is how it ends
            server.serve_forever()
