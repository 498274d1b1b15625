"""Tables of what a verification measures only if asked for, as the terminal and the report show them."""

from acdc.artefacts.verification.rivals import Rivals
from acdc.artefacts.verification.specificity import Specificity
from acdc.render.verdict import percent, spread

Table = tuple[list[str], list[list[str]]]  # headings, rows

HARMS = (
    "share of each task's behaviour (across) that is lost where all edges of a circuit (down) are ablated in the full "
    "model [95% interval]"
)
RIVALS = (
    "circuits found without edges of this one: in which order these were left out and how many were; the edges found, "
    "those that this circuit has too, and faithfulness [95% interval]; what reaches the target first, by overlap"
)


def harms_table(found: Specificity) -> Table:
    """Circuits down, tasks across."""
    names = [task.name for task in found.tasks]
    rows = [
        [task.name, f"{task.edges:,}", f"{task.shared:,}"] + [spread(found.of(task.name, name).lost) for name in names]
        for task in found.tasks
    ]
    return ["circuit of", "edges", "shared", *names], rows


def rivals_table(found: Rivals) -> Table:
    head = ["order", "left out", "edges", "shared", "Jaccard", "discovery rows", "unseen rows", "target"]
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
            "reached" if rival.reaches else "missed",
        ]
        for rival in (*found.reaching, *others)
    ]
    return head, rows
