"""What circuits of one task in several models share, as a table and in a sentence."""

from acdc.artefacts.universality import Role, RolePair, Universality
from acdc.artefacts.verification.mechanism import ATTENDS
from acdc.render.verdict import percent
from acdc.words import count_of

ROLES = (
    "components by role: each of the first run's with the one of the other run that is most like it (100% is the same; "
    "direct, total: share of the metric's range that is lost without its edge to the logits, and without all it writes)"
)
LEVEL = 0.05  # of p
Table = tuple[list[str], list[list[str]]]


def roles_table(found: Universality) -> Table:
    """The components of the first run, the largest effect first, each with its counterpart in every other run; then
    those of the others that have none there."""
    first, *others = found.circuits
    pairs = [pair for pair in found.pairs if pair.first == first.name]
    order = sorted(first.roles, key=lambda role: (-abs(role.total), role.id))
    rows = [[*_role(role), *(cell for pair in pairs for cell in _counterpart(pair, role.id))] for role in order]
    for place, (pair, circuit) in enumerate(zip(pairs, others, strict=True)):
        matched = {match.second for match in pair.matches}
        for role in circuit.roles:
            if role.id not in matched:
                cells = ["-", "-"] * place + [role.id, "-"] + ["-", "-"] * (len(pairs) - place - 1)
                rows.append(["-", _label(role), percent(role.direct), percent(role.total), percent(role.depth), *cells])
    names = [cell for circuit in others for cell in (f"in {circuit.name}", "alike")]
    return [f"in {first.name}", "attends to", "direct", "total", "depth", *names], rows


def _role(role: Role) -> list[str]:
    return [role.id, _label(role), percent(role.direct), percent(role.total), percent(role.depth)]


def _label(role: Role) -> str:
    return (role.label or "-").removeprefix(ATTENDS)


def _counterpart(pair: RolePair, name: str) -> list[str]:
    for match in pair.matches:
        if match.first == name:
            return [match.second, percent(match.alike)]
    return ["-", "-"]


def pair_texts(found: Universality) -> list[str]:
    """What each pair of runs shares and what chance would give, in a sentence each, without its full stop."""
    sizes = {circuit.name: len(circuit.roles) for circuit in (*found.circuits, *found.others)}
    return [_pair(pair, sizes) for pair in found.pairs]


def _pair(pair: RolePair, sizes: dict[str, int]) -> str:
    chance = pair.chance
    sides = f"{sizes[pair.first]} of {pair.first} and {sizes[pair.second]} of {pair.second}"
    return (
        f"{count_of(pair.shared, 'role')} shared among the components, {sides}: agreement {percent(pair.agreement)}; "
        f"shuffled roles agree by {percent(chance.mean)} on average, 95% of them by less than {percent(chance.high)} "
        f"(p = {chance.p:.3g})"
    )


def unrelated_text(found: Universality) -> str:
    """What circuits of other tasks have in common with these."""
    if not found.unrelated:
        return "no runs of unrelated tasks were named (--unrelated), so that chance is that of shuffled roles alone"
    shares = [pair.agreement for pair in found.unrelated]
    between = percent(shares[0]) if len(shares) == 1 else f"{percent(min(shares))} to {percent(max(shares))}"
    return (
        f"circuits of unrelated tasks in other models agree with these by {between}; of "
        f"{count_of(len(shares), 'such pair')}, {found.reached_by_unrelated} by at least as much as circuits of this "
        "task with each other"
    )


def verdict_text(found: Universality) -> str:
    """The result in a sentence."""
    significant = sum(pair.chance.p <= LEVEL for pair in found.pairs)
    pairs = count_of(len(found.pairs), "pair")
    return f"of {pairs} of models, {significant} share more roles than shuffled ones would (p at most {LEVEL:.0%})"
