"""Why a circuit is as large as it is, where that is not what was asked for or expected: in sentences."""

from collections.abc import Iterator

from acdc.artefacts.circuit import Circuit
from acdc.options import Choosing
from acdc.words import count_of, were


def size_notes(circuit: Circuit) -> list[str]:
    """What is to be said of a circuit's size; nothing of most circuits."""
    return list(_notes(circuit))


def _notes(circuit: Circuit) -> Iterator[str]:
    if not circuit.size:
        yield f"The circuit is empty. {_why_empty(circuit)}"
        return
    selection, units = circuit.method.selection, circuit.units
    asked, unscored = selection.get("edges"), selection.get("scored_zero")
    if circuit.method.objective is None and asked is not None and circuit.size_in_edges < asked:
        reason = f"the next {units.singular} of the ranking completes paths that make it more than {asked:,}"
        if unscored is not None:
            reason = f"{_no_more(circuit)}, and a score of 0 is never chosen"
        counted = units.singular if units.count_as_edges else "edge"
        yield f"{count_of(circuit.size_in_edges, counted)} instead of the {asked:,} asked for: {reason}."
    if "reached" in selection:
        yield (
            f"Faithfulness on the discovery rows is {selection['reached']:.1%}, below the "
            f"{selection['faithfulness']:.1%} asked for: {_no_more(circuit)}, and a score of 0 is never chosen."
        )


def _no_more(circuit: Circuit) -> str:
    name = circuit.units.singular
    if circuit.method.choose is Choosing.greedy:
        return f"no other {name} that leads to these has a score other than 0"
    text = f"no other {name} has a score other than 0"
    lost = circuit.method.selection.get("selected", 0) - circuit.edges_effective
    if circuit.units.are_edges and lost:
        text += f" ({count_of(int(lost), 'edge')} without a path from input to logits {were(int(lost))} dropped)"
    return text


def _why_empty(circuit: Circuit) -> str:
    """What removed everything, and what helps."""
    selection, name, plural = circuit.method.selection, circuit.units.singular, circuit.units.plural
    threshold = selection.get("threshold")
    kept = len(circuit.edges) if circuit.method.objective is not None else selection.get("selected", 0)
    if circuit.units.are_edges and kept:
        lower = "a smaller --threshold" if threshold is not None else "a larger --edges or --faithfulness"
        greedy = "" if circuit.method.objective is not None else ", or --choose greedy, which starts at the logits"
        return (
            f"Pruning removed all: the {count_of(int(kept), 'edge')} that the method kept {were(int(kept))} on no "
            f"path from input to logits. Try {lower}{greedy}."
        )
    if circuit.method.objective is not None:
        return (
            f"No removal of {_article(name)} raised {circuit.method.objective} by the threshold of {threshold:.4g} or "
            "more. Try a smaller --threshold."
        )
    if "largest_score" not in selection:
        return f"It was given no {plural}."
    if not selection["largest_score"]:
        return f"Every {name} has a score of 0, which is never chosen. Try another method or --ablation."
    if threshold is not None:
        return (
            f"No {name} has a |score| of {threshold:.4g} or more; the largest is {selection['largest_score']:.4g}. Try "
            "a smaller --threshold."
        )
    return "Every path from input to logits takes more edges than were asked for. Try a larger --edges."


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
