"""Print a plan: first the estimates, then what they are based on; or JSON."""

from pathlib import Path

from acdc.cli.console import console, say_json, tell
from acdc.cli.progress import clear_line
from acdc.cli.tables import make_table
from acdc.graph.units import kind_of
from acdc.jobs.makespan import READING, JobsPlan
from acdc.options import Extent, Level
from acdc.planning.forecast import Forecast
from acdc.planning.job_plan import Cost, JobPlan
from acdc.words import count_of


def _units(plan: JobPlan) -> str:
    """What is searched over, in the plural."""
    return kind_of(Level(plan.level)).plural


def announce(text: str) -> None:
    """Say on stderr what a plan will do."""
    clear_line()
    tell(text)


def print_plan(plan: JobPlan, as_json: bool) -> None:
    """Time and work of each stage and the memory; the size of the search; what the figures rest on, and what to do
    where memory does not suffice."""
    if as_json:
        say_json(plan.as_record())
        return
    search, out = plan.search, console()
    out.print(f"plan of {plan.method.name} for {plan.task} in {plan.model}\n", style="bold")
    out.print(make_table(("stage", "time", "work"), _stages(plan), out.width, words=range(3), headed=False))
    sizes = f"{search.candidates:,} {_units(plan)}"
    stored = f", {plan.quantisation}" if plan.quantisation else ""
    out.print(
        f"\n{sizes}; {count_of(search.rows, 'discovery row')} of at most {count_of(search.longest, 'token')} in "
        f"batches of at most {plan.batch_size}; "
        f"{plan.parameters:,} parameters in {plan.dtype}{stored}, {_place(plan)}."
    )
    out.print(f"\n{_basis(plan)}")
    out.print(f"\n{_memory(plan)}")


def print_jobs_plan(plan: JobsPlan, file: Path, as_json: bool) -> None:
    """When all jobs of a file are done, and what each of those that differ takes."""
    if as_json:
        say_json(plan.as_record())
        return
    out, first = console(), plan.plans[0][0]
    who = "in one process" if plan.workers is None else f"on {count_of(plan.workers, 'worker')}"
    out.print(f"plan of {count_of(plan.jobs, 'job')} of {file.name} {who}\n", style="bold")
    out.print(make_table(("what", "time", "bounds"), _when_done(plan), out.width, words=range(3), headed=False))
    head = ("jobs", "task", "model", "method", "search", "after it, at most", "memory")
    out.print()
    out.print(make_table(head, [_job(one, count) for one, count in plan.plans], out.width, words=(1, 2, 3, 4)))
    here = "The workers share the cores of this machine."
    workers = f"Each worker has {first.device} to itself." if first.assumed else here
    out.print(
        f"\n{workers} A worker loads a model once, at {READING / 1e9:g} GB/s. While there are fewer jobs than workers, "
        "these share the batches of one. Failures, drawing and slow machines are not included."
    )


def _when_done(plan: JobsPlan) -> list[tuple[str, str, str]]:
    """(what, time, bounds)."""
    every = ("all jobs", f"about {duration(plan.likely.seconds)}", _between(plan.least.seconds, plan.most.seconds))
    if plan.workers is None:
        return [every]
    shared = count_of(plan.likely.parts_shared, "batch", "batches")
    return [
        ("starting", f"about {duration(plan.starting)}", ""),
        every,
        ("workers busy", f"{100 * plan.likely.busy:.0f}%", f"{shared} done by others than the job's own"),
    ]


def _job(plan: JobPlan, count: int) -> tuple[str, ...]:
    """A row for jobs that are planned together."""
    after = plan.verification.seconds + (plan.choosing.seconds if plan.choosing else 0.0)
    names = plan.task, plan.model, plan.method.name
    return (f"{count:,}", *names, _search(plan)[0], duration(after), size(plan.peak))


def _between(least: float, most: float) -> str:
    return "" if most <= least else f"between {duration(least)} and {duration(most)}"


def _place(plan: JobPlan) -> str:
    return f"on {count_of(plan.threads, 'thread')}" if plan.device == "cpu" else f"on {plan.device}"


def _stages(plan: JobPlan) -> list[tuple[str, str, str]]:
    """(stage, time, work), and the memory at last."""
    rows = [("search", *_search(plan))]
    if plan.choosing:
        rows.append(("choosing", *_at_most(plan.choosing)))
    if plan.verify is Extent.none or not plan.verification.flops:
        rows.append(("verification", "none", ""))
    else:
        time, work = _at_most(plan.verification)
        rows.append(("verification", time, f"{work} (--verify {plan.verify})"))
    rows.append(("peak memory", size(plan.peak), "" if plan.free is None else f"{size(plan.free)} are free"))
    return rows


def _search(plan: JobPlan) -> tuple[str, str]:
    """(time, work)."""
    (least, most), (fewest, largest) = plan.seconds, plan.flops
    if plan.likely is None:
        return f"{duration(least)} to {duration(most)}", f"{fewest:.1e} to {largest:.1e} FLOPs"
    time, work = f"about {duration(plan.likely.seconds)}", f"{plan.likely.flops:.1e} FLOPs"
    if plan.preview is None:
        return time, work
    tests, kept = round(plan.preview.tests, -2) or plan.preview.tests, plan.preview.kept
    return (
        f"{time}, between {duration(least)} and {duration(most)}",
        f"{work}, about {count_of(round(tests), 'test')} and {count_of(round(kept), 'edge')} kept",
    )


def _at_most(cost: Cost) -> tuple[str, str]:
    return f"at most {duration(cost.seconds)}", f"{cost.flops:.1e} FLOPs"


def _basis(plan: JobPlan) -> str:
    """What time and work rest on, and why they may be off."""
    rates = plan.rates
    large = rates.half if plan.dtype in ("bfloat16", "float16") else rates.linear
    machine = (
        f"{large / 1e9:,.0f} GFLOP/s in large products, {rates.plain / 1e9:,.0f} GB/s of memory, "
        f"{1e6 * rates.start:.0f} microseconds to start an operation"
    )
    speed = f"assume that {plan.device} reaches" if plan.assumed else "are for this machine at its present speed:"
    measured = f"Times {speed} {machine}. Loading and drawing are not included."
    if plan.preview is not None:
        return f"{_tried(plan.preview, plan.search.rows)} {measured}"
    if not plan.search.is_range:
        return measured
    if plan.method.learns_masks:
        return f"{measured} Masks may stop learning once half of the updates are done."
    if not plan.method.decides:
        return f"{measured} The work depends on what the search finds."
    return (
        f"{measured} The work depends on how many {_units(plan)} are kept, which is unknown: the lower bound assumes "
        "almost none, the upper bound a run of the whole model for each test."
    )


def _tried(preview: Forecast, rows: int) -> str:
    """What the estimate is based on."""
    of_all = f"all {rows}" if preview.rows == rows else f"{preview.rows} of the {rows}"
    slots = count_of(preview.receivers, "slot")
    text = f"The estimate comes from a short search on {of_all} discovery rows, which visited {slots}. "
    if preview.tested == preview.receivers:
        text += "Every edge into each of them was tested."
    else:
        text += f"Every edge into {preview.tested} of them was tested; at the others some effects were estimated."
    if preview.unreached:
        text += f" It ended before it reached the last {100 * preview.unreached:.0f}% of the edges."
    return text


def _memory(plan: JobPlan) -> str:
    memory = plan.search.memory
    base = "" if plan.device != "cpu" else f"interpreter and libraries {size(plan.base)}, "
    parts = (
        f"Memory of the search: {base}weights {size(memory.weights)}, cached runs {size(memory.held)}, "
        f"work on a batch {size(memory.working)}."
    )
    parts += "".join(f" Weights on {name} {size(held)}." for name, held in memory.elsewhere.items())
    if plan.fits is None or plan.free is None:
        return f"{parts} How much is free is unknown on this machine."
    if plan.fits:
        return parts
    if plan.fitting:
        return f"{parts} Only {size(plan.free)} are free: use --batch-size {plan.fitting}."
    if plan.full:
        where = " and ".join(plan.full)
        return f"{parts} There is too little free memory on {where}: name more GPUs, or use a smaller --dtype."
    least = plan.base + max(memory.weights + memory.held, memory.loading)
    return (
        f"{parts} Only {size(plan.free)} are free, and {size(least)} are needed at any batch size: use a machine "
        "with more memory, or --limit or a smaller --dtype."
    )


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{_short(seconds / length)} {unit}"
    return f"{_short(seconds)} s"


def _short(number: float) -> str:
    """Two digits, or all of a whole number."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def size(count: int) -> str:
    """Bytes in a unit that suits them."""
    for unit, power in (("TiB", 40), ("GiB", 30)):
        if count >= 2**power:
            return f"{count / 2**power:.2f} {unit}"
    return f"{count / 2**20:.0f} MiB"
