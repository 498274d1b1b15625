"""Two circuits of one model in one picture: what is in both, and what in one of them alone."""

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.render.look import PLAIN, Look
from acdc.render.shapes import Picture, Words
from acdc.render.shares import Share, draw_shares, split
from acdc.render.style import READABLE, LineMeaning, crowd, subtitle

BOTH, FIRST, SECOND = ("#5f6b76", "solid"), ("#d55e00", "dashed"), ("#0072b2", "dotted")
WIDTH = 2.0


def draw_difference(
    first: Circuit, second: Circuit, names: tuple[str, str] = ("first", "second"), look: Look = PLAIN
) -> Picture:
    """The effective edges of two circuits, under the names that they are given, with their counts in the legend.

    Raises InputError for circuits of different models, or of different graphs of one.
    """
    check(first, second)
    scores = [{edge.id: edge.score for edge in circuit.links} for circuit in (first, second)]
    parts = split(*scores)
    meanings = ("in both", f"only in {names[0]}", f"only in {names[1]}")
    styles = [
        LineMeaning(colour, f"{meaning}: {len(part):,}", dash)
        for (colour, dash), meaning, part in zip((BOTH, FIRST, SECOND), meanings, parts, strict=True)
    ]
    shares = [
        Share(style, WIDTH, {name: f"{meaning}, {_scores(name, scores)}" for name in part}, mark=style is not styles[0])
        for style, meaning, part in zip(styles, meanings, parts, strict=True)
    ]
    count = sum(map(len, parts))
    words = Words(
        f"{_behaviours(first, second)} in {first.model.name}: {names[0]} and {names[1]}",
        f"{names[0]}: {subtitle(first)}; {names[1]}: {subtitle(second)}",
        crowd(count, "compare smaller circuits for a picture of details") if count > READABLE else "",
        "outlined so: components of one alone",
        "no edges in either",
        styles,
    )
    return draw_shares(first.graph, shares, words, look)


def check(first: Circuit, second: Circuit) -> None:
    """Raises InputError for circuits that cannot be in one picture."""
    models = first.model, second.model
    if models[0].content_hash != models[1].content_hash:
        raise InputError(
            f"the circuits are of different models, {models[0].name} and {models[1].name}: a picture shows two "
            "circuits of one model"
        )
    if models[0].split_embeddings != models[1].split_embeddings:
        raise InputError("one of the circuits splits embeddings, the other does not: a picture shows two of one graph")


def _behaviours(first: Circuit, second: Circuit) -> str:
    return " and ".join(dict.fromkeys((first.task.name, second.task.name)))


def _scores(name: str, scores: list[dict[str, float]]) -> str:
    return " and ".join(f"{found[name]:+.4g}" for found in scores if name in found)
