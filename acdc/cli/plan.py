"""Print a plan: a short table, or JSON."""

import json

from rich.table import Table

from acdc.cli.show import console
from acdc.jobs.plan import JobPlan
from acdc.options import Level


def print_plan(plan: JobPlan, as_json: bool) -> None:
    """The size of a search, its work, time and memory, what is not known beforehand, and what to ask for."""
    if as_json:
        print(json.dumps(plan.as_record()))
        return
    search, out = plan.search, console()
    out.print(f"plan of {plan.method} for {plan.task} in {plan.model}", style="bold")
    stored = f", {plan.quantisation}" if plan.quantisation else ""
    out.print(
        f"{search.rows} rows of at most {search.longest} tokens in batches of at most {plan.batch_size}, "
        f"{plan.parameters:,} parameters in {plan.dtype}{stored}, {_place(plan)}\n"
    )
    out.print(_table(plan))
    out.print(f"\n{_memory(plan)}")
    out.print(f"\n{_scope(plan)}")


def _place(plan: JobPlan) -> str:
    return f"on {plan.threads} threads" if plan.device == "cpu" else f"on {plan.device}"


def _table(plan: JobPlan) -> Table:
    search = plan.search
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    ends = (search.least, search.most) if search.is_range else (search.most,)
    for name in ("at least", "at most") if search.is_range else ("",):
        table.add_column(name, justify="right")
    table.add_row("edges", *(f"{search.edges:,}" for _ in ends))
    if plan.level != Level.edges:
        table.add_row(plan.level, *(f"{search.candidates:,}" for _ in ends))
    table.add_row("forwards, in prompts", *(f"{effort.forwards:,.0f}" for effort in ends))
    table.add_row("backwards, in prompts", *(f"{effort.backwards:,.0f}" for effort in ends))
    table.add_row("FLOPs", *(f"{effort.flops:.2e}" for effort in ends))
    table.add_row("expected time", *(duration(seconds) for seconds in plan.seconds[-len(ends) :]))
    table.add_row("peak memory", *(size(plan.peak) for _ in ends))
    return table


def _memory(plan: JobPlan) -> str:
    memory = plan.search.memory
    base = "" if plan.device != "cpu" else f"interpreter and libraries {size(plan.base)}, "
    parts = (
        f"Peak memory: {base}weights {size(memory.weights)}, clean and ablated runs of all rows {size(memory.held)}, "
        f"at work on a batch {size(memory.working)}."
    )
    parts += "".join(f" Weights on {name} {size(held)}." for name, held in memory.elsewhere.items())
    if plan.fits is None or plan.free is None:
        return f"{parts} How much is free is unknown here."
    if plan.fits:
        return f"{parts} {size(plan.free)} are free."
    if plan.fitting:
        return f"{parts} Only {size(plan.free)} are free: use --batch-size {plan.fitting}."
    if plan.full:
        return f"{parts} Not as much is free on {' and '.join(plan.full)}: name more GPUs, or use a smaller --dtype."
    least = plan.base + max(memory.weights + memory.held, memory.loading)
    return (
        f"{parts} Only {size(plan.free)} are free, and {size(least)} are needed whatever the batch size: ask for a "
        "machine with more, or use --limit or a smaller --dtype."
    )


def _scope(plan: JobPlan) -> str:
    rates = plan.rates
    probe = (
        f"Time is for this machine as a probe just found it: {rates.linear / 1e9:.0f} GFLOP/s in large products, "
        f"{rates.plain / 1e9:.0f} GB/s of memory, {1e6 * rates.start:.0f} microseconds to start an operation. It is "
        "that of the search; loading, choosing by faithfulness and verifying come on top."
    )
    if not plan.search.is_range:
        return probe
    if "updates" in plan.takes:
        return f"{probe} Masks may stop learning once half of the updates are done."
    return (
        f"{probe} The work depends on how many {plan.level} are kept, which nobody knows beforehand: the least is for "
        "almost none, the most is what testing each by a run of the whole model takes."
    )


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.2g} s"


def size(count: int) -> str:
    """Bytes in a unit that suits them."""
    for unit, power in (("TiB", 40), ("GiB", 30)):
        if count >= 2**power:
            return f"{count / 2**power:.2f} {unit}"
    return f"{count / 2**20:.0f} MiB"
