"""Tables of what a verification measures only if asked for, as the terminal and the report show them."""

from acdc.artefacts.verification.rivals import Rivals
from acdc.artefacts.verification.specificity import Specificity
from acdc.render.verdict import percent, spread

Table = tuple[list[str], list[list[str]]]  # headings, rows

HARMS = "share of each behaviour that ablating all edges of a circuit in the full model loses [95% interval]"
RIVALS = "searches without edges of the circuit, the smallest overlap of those that reach the target first"


def harms_table(found: Specificity) -> Table:
    """Circuits down, tasks across."""
    names = [task.name for task in found.tasks]
    rows = [
        [f"circuit of {task.name}", f"{task.edges:,}", f"{task.shared:,}"]
        + [spread(found.of(task.name, name).lost) for name in names]
        for task in found.tasks
    ]
    return ["ablated", "edges", "also in this circuit", *(f"lost of {name}" for name in names)], rows


def rivals_table(found: Rivals) -> Table:
    head = [
        "edges left out",
        "how many",
        "edges",
        "shared with the circuit",
        "Jaccard",
        "on discovery rows",
        "on unseen rows [95% interval]",
        "reaches the target",
    ]
    others = [rival for rival in found.each if not rival.reaches]
    rows = [
        [
            rival.order,
            f"{rival.excluded:,}",
            f"{rival.edges:,}",
            f"{rival.shared:,}",
            percent(rival.jaccard),
            percent(rival.discovery),
            "-" if rival.faithfulness is None else spread(rival.faithfulness),
            "yes" if rival.reaches else "no",
        ]
        for rival in (*found.reaching, *others)
    ]
    return head, rows
