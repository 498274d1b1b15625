"""The page about a running job: how far it is, and which files are there. It loads itself anew while the job runs."""

import time
from importlib import resources
from pathlib import Path
from string import Template

from acdc.artefacts.circuit import FILE_NAME as CIRCUIT
from acdc.files import is_there
from acdc.render.escaping import escape
from acdc.runs.finished import PAGE
from acdc.runs.progress_file import read_progress
from acdc.runs.run_directory import read_run

SILENT = 60.0  # seconds without news after which a job may have been interrupted
STAGES = {CIRCUIT: "the circuit is found", "circuit.svg": "it is drawn", "verification.json": "verification has begun"}


def is_running(folder: Path) -> bool:
    """Whether a run is not complete; it may have been interrupted."""
    return read_run(folder).status == "running"


def live_page(folder: Path) -> str:
    """HTML, without a script. Raises InputError for a folder that holds no run."""
    run, progress = read_run(folder), read_progress(folder)
    there = [said for name, said in STAGES.items() if is_there(folder / name)]
    if progress is None:
        told = "<p>No stage has taken long enough yet to report on.</p>"
    else:
        share = min(1.0, progress.done / progress.total) if progress.total else 0.0
        text = f"{progress.what}: {progress.done:,.0f} of {progress.total:,.0f} {progress.unit}"
        told = f"<p>{escape(text)}</p><progress value='{share:.4f}' max='1'>{share:.0%}</progress>"
        told += f"<p class='quiet'>{escape(progress.note)}</p>" if progress.note else ""
        if (quiet := time.time() - progress.when) > SILENT:
            told += f"<p>Nothing new for {quiet:,.0f} seconds: the job may have been interrupted.</p>"
    done = "".join(f"<li>{escape(said)}</li>" for said in there) or "<li>the search goes on</li>"
    report = f"<p><a href='{PAGE}'>The report so far</a></p>" if is_there(folder / PAGE) else ""
    template = Template((resources.files(__package__) / "live.html").read_text(encoding="utf-8"))
    return template.substitute(
        name=escape(folder.resolve().name),
        command=escape(run.command),
        since=f"{max(0.0, time.time() - run.started):,.0f}",
        told=told,
        done=done,
        report=report,
    )
