"""The commands for jobs in a folder on this machine or on a Ray cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import say, say_json
from acdc.words import count_of

TargetName = Annotated[
    str, typer.Argument(help="Folder of jobs; with --address, the id that submit printed.", metavar="TARGET")
]
Address = Annotated[
    str | None, typer.Option(help="Dashboard of the Ray cluster, such as http://127.0.0.1:8265.", metavar="URL")
]


def submit(
    jobs: Annotated[Path, typer.Argument(help="TOML file, as for run.", metavar="JOBS")],
    address: Annotated[
        str, typer.Option(help="Dashboard of a Ray cluster, such as http://127.0.0.1:8265.", metavar="URL")
    ],
    workers: Annotated[int, typer.Option(help="Ray workers that run the jobs.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs for each worker; can be a fraction of one.")] = 0.0,
    min_workers: opt.MinWorkers = None,
    cluster_dir: Annotated[
        str, typer.Option(help="Folder that all machines of the cluster share.", metavar="DIR")
    ] = "~/.acdc",
    shared_files: Annotated[
        bool,
        typer.Option("--shared-files", help="Do not send models and tasks: the cluster has them at the same paths."),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Send the jobs of a file to a Ray cluster. Submitting the same file again resumes its jobs."""
    from acdc.jobs.jobs_file import read_jobs
    from acdc.jobs.ray.cluster import connect
    from acdc.jobs.ray.submission import Workers, submit

    specified = read_jobs(jobs)
    with connect(address) as cluster:
        made = submit(
            cluster,
            jobs.stem,
            specified,
            Workers(workers, gpus_per_worker, min_workers),
            cluster_dir,
            send_files=not shared_files,
            where=f"{jobs}: ",
        )
    if as_json:
        say_json({"submission": made.id, "folder": made.folder, "started": made.started})
        return
    say(f"submitted {made.id}" if made.started else f"the same jobs are running already: {made.id}")
    say(f"folder  {made.folder} on the cluster\nstatus  acdc status {made.id} --address {address}")


def status(
    target: TargetName,
    address: Address = None,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until all jobs have ended.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Show the status of jobs."""
    from acdc.cli.jobs import print_jobs, print_states
    from acdc.jobs import target as targets

    with targets.find_target(target, address) as found:
        if watch:
            print_states(targets.watch(found), as_json)
        else:
            print_jobs(found.state(), as_json)


def logs(
    target: TargetName,
    job: Annotated[
        str | None, typer.Argument(help="A job's name, or a unique part of it (default: all).", metavar="JOB")
    ] = None,
    address: Address = None,
    as_json: opt.Json = False,
) -> None:
    """Print the logs of jobs; for a submission, the output of the process that runs its jobs."""
    from acdc.jobs.target import find_target

    with find_target(target, address) as found:
        texts = found.logs(job)
    if as_json:
        say_json({"logs": texts})
        return
    for name, text in texts.items():
        if len(texts) > 1:
            say(f"== {name}")
        say(text, end="" if text.endswith("\n") else "\n")


def stop(target: TargetName, address: Address = None, as_json: opt.Json = False) -> None:
    """Stop jobs. Their finished work is kept."""
    from acdc.jobs.target import find_target

    with find_target(target, address) as found:
        said = found.stop()
    if as_json:
        say_json({"target": target, "outcome": said})
    else:
        say(said)


def fetch(
    target: TargetName,
    out: Annotated[Path, typer.Option("--out", help="Folder for the runs.", metavar="DIR")],
    address: Address = None,
    as_json: opt.Json = False,
) -> None:
    """Copy finished runs into a folder on this machine. Existing files are kept, except that a verification is replaced
    by one that goes further."""
    from acdc.jobs.target import fetch, find_target

    with find_target(target, address) as found:
        taken = fetch(found, out)
    if as_json:
        say_json({"out": str(out), "files": [entry.name for entry in taken]})
        return
    runs = {entry.name.split("/")[0] for entry in taken}
    say(
        f"brought {count_of(len(taken), 'file')} of {count_of(len(runs), 'run')}"
        if taken
        else "no finished run that is not there already"
    )
    say(f"jobs  {out}")


COMMANDS: dict[Callable[..., None], str] = {  # with an example of each
    submit: "acdc submit jobs.toml --address http://127.0.0.1:8265",
    status: "acdc status my-jobs",
    logs: "acdc logs my-jobs",
    stop: "acdc stop my-jobs",
    fetch: "acdc fetch my-jobs --out here",
}
