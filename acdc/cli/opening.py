"""The command open."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import say, say_json


def open_(
    path: Annotated[Path, typer.Argument(help="Run directory, or a folder of runs.", metavar="RUN")],
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page, or only write it.")] = True,
    as_json: opt.Json = False,
) -> None:
    """Show a run's report in the browser, or a page about all runs in a folder. The pages are files: nothing is
    served."""
    from acdc.files import is_there
    from acdc.runs.index import write_index
    from acdc.runs.page import renew_page
    from acdc.runs.run_directory import RUN_FILE

    page = renew_page(path) if is_there(path / RUN_FILE) else write_index(path)
    if as_json:
        say_json({"page": str(page)})
    else:
        say(f"page  {page}")
    if browser and not webbrowser.open(page.resolve().as_uri()):
        say("no browser was found: open the page by hand")
