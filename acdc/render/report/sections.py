"""The sections of the page that are text and tables."""

from collections.abc import Iterator, Mapping, Sequence

from acdc.artefacts.circuit import Circuit, ScoredEdge, ScoredNode
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.mechanism import HeadHint
from acdc.artefacts.verification.report import Removal, Report
from acdc.artefacts.verification.stability import Stability
from acdc.render.hints import ADDS, EVIDENCE, LABELS, SHARES, evidence_cells, shares_table
from acdc.render.judgement import RULE, judge
from acdc.render.report.curve import size_curve
from acdc.render.report.explorer import measured_sizes, parts_text
from acdc.render.report.markup import Markup, drawn, element, facts, join, paragraph, table
from acdc.render.style import dropped, polished, screened, within
from acdc.render.subject import Subject
from acdc.render.verdict import (
    Claim,
    Standing,
    better,
    complete_text,
    minimal_text,
    number,
    own_faithfulness,
    percent,
    resampled,
    result_text,
    sizes_text,
    spread,
    stable_text,
)
from acdc.words import count_of

MOST_PARTS = 200  # of the circuit, in the table of its parts
WORDS = ("needed", "drawn", "stability")  # columns of that table without numbers
HEADINGS = {
    Standing.shown: "Shown",
    Standing.not_shown: "Not shown",
    Standing.open: "Open: not decided",
}
MEANINGS = {
    Standing.shown: "supported by an interval, by a corrected test, or by every removal that was measured",
    Standing.not_shown: "measured, and not supported",
    Standing.open: "not measured, measured without an interval or a test, or the test could not decide",
}


def section(id: str, heading: str, *parts: str) -> Markup:
    """A section with a heading; nothing where no part says anything."""
    if not any(parts):
        return Markup("")
    return element("section", join([element("h2", heading), *filter(None, parts)]), id=id)


def word(report: Report) -> Markup:
    """The verdict in one word, why, and its rule."""
    found = judge(report)
    kind = found.word.name.replace("_", "-")
    head = element("b", found.said.capitalize(), class_="word-name") + " " + element("span", found.why)
    return element("div", join([element("p", Markup(head)), paragraph(RULE, "quiet rule")]), class_=f"word-of {kind}")


def figures(circuit: Circuit, report: Report) -> Markup:
    """The few numbers that matter most."""
    return cards(_size_card(circuit), report, circuit.part_name)


def cards(first: Markup, report: Report, noun: str) -> Markup:
    """A card, and those of a verification of parts called `noun`."""
    own, cards = own_faithfulness(report), [first]
    if report.rows:
        value = "unknown" if report.faithfulness is None else percent(report.faithfulness)
        interval = f"no interval: too few {resampled(report)}s" if own else "no interval: needs a full verification"
        if own and own.denoised.low is not None:
            interval = f"95% interval {percent(own.denoised.low)} to {percent(own.denoised.high)}"
        cards.append(card(value, "faithfulness", f"{interval}; {count_of(report.rows, 'unseen row')}"))
    else:
        cards.append(card("not verified", "faithfulness", report.reason or "no rows were left"))
    minimal = report.full_verification.minimality if report.full_verification else None
    if report.sample is not None and not report.sample.is_whole:
        below = f"95% interval {percent(report.sample.needed.low)} to {percent(report.sample.needed.high)}; estimated"
        below += f" from {report.sample.measured:,} of {report.sample.parts:,}, removed one by one"
        cards.append(card(percent(report.sample.needed.value), f"of {noun} are needed", below))
    elif report.removals:
        needed, tolerance = f"{report.needed:,} of {len(report.removals):,}", number(report.tolerance)
        cards.append(card(needed, f"{noun} needed", f"{report.metric} worse by more than {tolerance} without each"))
    if minimal:
        cards.append(card(minimal.level.value, "minimality", "the strongest level that was shown"))
    if report.stability:
        share = percent(report.stability.jaccard)
        cards.append(card(share, "stability", f"shared edges of two of {report.stability.repeats} discoveries"))
    return element("div", join(cards), class_="cards")


def _size_card(circuit: Circuit) -> Markup:
    units = circuit.units
    below = f"of {units.total:,}"
    if units.are_edges:
        share = f"{_small(circuit.size / max(1, units.total))} {below}"
        below = "; ".join(filter(None, [share, dropped(circuit), screened(circuit)]))
    elif units.parts is units.level:
        below += f"; {count_of(circuit.edges_effective, 'edge')} among them"
        below += f"; {parts_text(circuit)[:-1]}" if units.have_neurons else ""
    else:
        below += f", {within(circuit)}"
    return card(f"{circuit.size:,}", units.plural, below)


def _small(share: float) -> str:
    """In percent, of a small share its first two digits."""
    return f"{100 * share:.2g}%" if 0 < share < 0.001 else percent(share)


def card(value: str, name: str, below: str) -> Markup:
    return element(
        "div",
        join([element("b", value), element("span", name, class_="name"), element("span", below, class_="below")]),
        class_="card",
    )


def standing(found: Sequence[Claim]) -> Markup:
    """Claims, by how they stand."""
    columns = []
    for kind, heading in HEADINGS.items():
        some = [claim for claim in found if claim.standing is kind]
        if some:
            inside = [
                element("h3", heading),
                paragraph(MEANINGS[kind], "quiet"),
                element("ul", join(map(_claim, some))),
            ]
            columns.append(element("div", join(inside), class_=f"claims {kind.name.replace('_', '-')}"))
    return element("div", join(columns), class_="standing")


def _claim(claim: Claim) -> Markup:
    return element("li", Markup(element("b", claim.name) + " " + element("span", claim.text)))


def faithfulness(circuit: Circuit, report: Report) -> Markup:
    """Every metric, every ablation, and over all sizes."""
    return faithfulness_of(Subject.of(circuit), report, _over_sizes(circuit, report))


def faithfulness_of(subject: Subject, report: Report, over_sizes: Markup) -> Markup:
    """Tables of every metric and every ablation, with what is known of other sizes."""
    if not report.rows:
        return Markup("")
    rows = [
        [name, *map(number, (m.full, m.circuit, m.complement, m.empty, m.corrupted)), percent(m.faithfulness)]
        for name, m in report.measures.items()
    ]
    head = ["metric", "full model", "circuit", "complement", "empty circuit", "corrupted run", "faithfulness"]
    caption = (
        f"Every metric, means over {count_of(report.rows, 'unseen row')}, each in its own unit. Discovery used "
        f"{report.metric}: {better(subject.larger_is_better)}. Complement: the circuit's {subject.everything}s are "
        "ablated, all others kept."
    )
    return section(
        "faithfulness",
        "Faithfulness",
        table(caption, head, rows),
        _ablations(report),
        over_sizes,
        _groups(report),
        _failures(report),
    )


def _ablations(report: Report) -> Markup:
    if report.full_verification is None:
        return Markup("")
    rows = [
        [f.ablation, f.metric, spread(f.denoised), drawn(f.denoised, -0.5, 1.5, (0.0, 1.0)), spread(f.noised)]
        for f in report.full_verification.faithfulness
    ]
    head = ["ablation", "metric", "circuit alone recovers", "-50% to 150%", "lost without it"]
    caption = (
        "Under every ablation: 100% is all of the behaviour, 0% none; 95% bootstrap intervals over "
        f"{resampled(report)}s in brackets. "
        "The lines mark 0% and 100%; values beyond the range are drawn at its edge."
    )
    return table(caption, head, rows, words=[1, 3])


def _over_sizes(circuit: Circuit, report: Report) -> Markup:
    measured = measured_sizes(circuit, report)
    if report.full_verification is None or report.full_verification.over_sizes is None:
        return Markup("")
    own = None if report.faithfulness is None else (circuit.edges_effective, report.faithfulness)
    text = f"Over all sizes: {sizes_text(report.full_verification.over_sizes)}. "
    text += "The diamond is this circuit. Hover over a point or focus it for its numbers."
    return element("figure", join([element("figcaption", text), size_curve(measured, own)]))


def _groups(report: Report) -> Markup:
    if not report.full_verification or not report.full_verification.groups:
        return Markup("")
    head = ["rows of", "rows", "circuit recovers", "-50% to 150%", "circuit right", "full model right"]
    rows = [
        [
            g.group,
            str(g.rows),
            spread(g.faithfulness),
            drawn(g.faithfulness, -0.5, 1.5, (0.0, 1.0)),
            percent(g.accuracy),
            percent(g.accuracy_full),
        ]
        for g in report.full_verification.groups
    ]
    return table("By template, or by length where the task names none.", head, rows, words=[3])


def _failures(report: Report) -> Markup:
    if not report.full_verification or not report.full_verification.failures:
        return Markup("")
    lost = {True: "yes", False: "no", None: "not known"}
    rows = [
        [f.row, f.group or "-", number(f.circuit), number(f.full), lost[f.wrong]]
        for f in report.full_verification.failures
    ]
    head = ["row", "group", f"{report.metric} of the circuit", "of the full model", "right answer lost"]
    return table("Rows on which the circuit does worst compared with the full model.", head, rows, words=[1, 4])


def parts(circuit: Circuit, report: Report) -> Markup:
    """Edges or nodes one by one: score, effect of removing it, whether it is needed and stable."""
    scored, noun = {part.id: part for part in circuit.parts}, circuit.part_name
    ordered = sorted(scored.values(), key=lambda part: (-abs(part.score), part.id))
    if not ordered:
        return Markup("")
    columns = [removed(report), _worse(report), _steady(report)]
    columns = [column for column in columns if column[1]]
    sign = "+" if circuit.score_kind == "effect" else ""  # an importance has none
    rows = [[part.id, f"{part.score:{sign}.4g}", *_cells(part, columns)] for part in ordered[:MOST_PARTS]]
    head = [noun.removesuffix("s"), "score", *(name for names, _ in columns for name in names)]
    caption = f"The {noun} by |score|. {circuit.sign_convention[:1].upper()}{circuit.sign_convention[1:]}."
    if len(ordered) > MOST_PARTS:
        caption += f" The table has the first {MOST_PARTS} of {len(ordered):,}, circuit.json all."
    minimal = report.full_verification.minimality if report.full_verification else None
    told = paragraph(f"Minimality: {minimal_text(minimal, report)}.") if minimal else ""
    drawn_at = [place for place, name in enumerate(head) if name in WORDS]
    return section("parts", noun.capitalize(), told, table(caption, head, rows, words=drawn_at))


Column = tuple[list[str], Mapping[str, list[str]]]


def _cells(part: ScoredEdge | ScoredNode, columns: list[Column]) -> list[str]:
    return [cell for names, cells in columns for cell in cells.get(part.id, [""] * len(names))]


def removed(report: Report) -> Column:
    """The change without a part is left out where there is an interval around it, in another column."""
    minimal = report.full_verification.minimality if report.full_verification else None
    known = {part.id for part in minimal.parts} if minimal else set()
    every = all(removal.id in known for removal in report.removals)

    def cells(removal: Removal) -> list[str]:
        change = [] if every else [f"{removal.change:+.4g}"]
        return [*change, percent(removal.rows_worse), "yes" if removal.hurts else "no"]

    head = [*([] if every else [f"change of {report.metric} without it"]), "rows that get worse", "needed"]
    return (head if report.removals else []), {removal.id: cells(removal) for removal in report.removals}


def _worse(report: Report) -> Column:
    minimal = report.full_verification.minimality if report.full_verification else None
    if minimal is None:
        return [], {}
    intervals = [part.worse for part in minimal.parts]
    known = [end for i in intervals for end in (i.low, i.value, i.high) if end is not None]
    low = min([0.0, *known])
    high = max([0.0, low + 1e-9, *known])
    cells = {
        part.id: [
            _interval(part.worse),
            drawn(part.worse, low, high, (0.0,)),
            number(part.p),
        ]
        for part in minimal.parts
    }
    return [f"{report.metric} worse without it [95% interval]", "drawn", "p, corrected"], cells


def _interval(interval: Interval) -> str:
    if interval.low is None:
        return number(interval.value)
    return f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"


def _steady(report: Report) -> Column:
    if report.stability is None:
        return [], {}
    kinds = {"stable": report.stability.core, "undecided": report.stability.abstained}
    kinds["unstable"] = report.stability.unstable
    cells = {edge.id: [percent(edge.frequency), kind] for kind, edges in kinds.items() for edge in edges}
    return ["found again in", "stability"], cells


def tests(report: Report) -> Markup:
    """Tests against chance: numbers, and the result of each in a sentence."""
    if report.full_verification is None:
        return Markup("")
    complete = report.full_verification.completeness
    rows = []
    for test in report.full_verification.tests:
        values = (number(value) for value in (test.effect, test.p, test.adjusted))
        said, measured = result_text(test), "-"
        if test.testable:
            measured = f"Null hypothesis: {test.null}. Effect: {test.measures}."
        power = "-" if test.power is None else f"{percent(test.power)} where {test.power_at}"
        rows.append([test.name, str(test.n), *values, f"{said[:1].upper()}{said[1:]}.", measured, power])
    head = ["test", "n", "effect", "p", "corrected p", "result at 5%", "null hypothesis and effect", "power"]
    caption = (
        "All tests are corrected together (Holm). n: number of rows, prompts or groups, or of random circuits to "
        "compare with. A null hypothesis that is not rejected is not proven."
    )
    text = paragraph(f"Completeness: {complete_text(complete, report.metric)}.") if complete else ""
    sampling = report.full_verification.sampling
    drawn_from = paragraph(f"Intervals and tests: {sampling.text}.") if sampling else ""
    return section("tests", "Tests", drawn_from, table(caption, head, rows, words=[5, 6, 7]), text)


def stability(report: Report) -> Markup:
    """How often each edge was found on other rows."""
    found = report.stability
    if found is None:
        return Markup("")
    kinds = (("stable", found.core), ("undecided", found.abstained), ("unstable, in the circuit", found.unstable))
    rows = [
        [e.id, kind, percent(e.frequency), bar(e.frequency), str(e.certified)]
        for kind, edges in kinds
        for e in sorted(edges, key=lambda e: (-e.frequency, e.id))[:MOST_PARTS]
    ]
    head = ["edge", "stability", "found in", "share of discoveries", "rows that could be replaced"]
    text = paragraph(f"{stable_text(found)[:1].upper()}{stable_text(found)[1:]}.")
    caption = (
        "The share of discoveries on random parts of the rows that found an edge, and how many rows could be replaced "
        "without changing the result."
    )
    inside = table(caption, head, rows, words=[1, 3])
    each = element("details", element("summary", "Edge by edge") + inside)
    return section("stability", "Stability", text, *_repeats(found), each)


def _repeats(stability: Stability) -> Iterator[Markup]:
    for what, repeats in (("seeds", stability.seeds), ("templates", stability.templates)):
        if repeats is not None:
            rows = [[r.name, str(r.edges), percent(r.jaccard), bar(r.jaccard)] for r in repeats.each]
            any_two = "" if repeats.jaccard is None else f" Any two have {percent(repeats.jaccard)} on average."
            caption = f"Discoveries with other {what}, and their Jaccard overlap with the circuit's edges.{any_two}"
            yield table(caption, ["discovery", "edges", "shared with the circuit", "share"], rows, words=[3])


def bar(share: float) -> Markup:
    """A share from 0 to 1."""
    return Markup(f'<span class="bar"><span style="width:{100 * share:.0f}%"></span></span>')


def mechanism(report: Report) -> Markup:
    """Where heads attend and what they compose with."""
    full_verification = report.full_verification
    if full_verification is None or not (full_verification.hints or full_verification.composition):
        return Markup("")
    inside = [
        paragraph("These numbers suggest what components do. They are evidence for a mechanism, not proof of one.")
    ]
    if full_verification.hints:
        inside += _heads(full_verification.hints, report.metric)
    if full_verification.composition:
        strongest = sorted(full_verification.composition, key=lambda c: (c.usual - c.score, c.edge))[:MOST_PARTS]
        rows = [[c.edge, f"{c.score:.3f}", f"{c.usual:.3f}"] for c in strongest]
        caption = (
            "Composition, from the weights alone: how much of one head's output the next head reads, and the mean over "
            "all pairs of heads of the model for that kind of slot."
        )
        inside.append(table(caption, ["edge", "composition", "usual"], rows))
    return section("mechanism", "Hints at the mechanism", *inside)


def _heads(hints: Sequence[HeadHint], metric: str) -> Iterator[Markup]:
    ends = [end for h in hints for end in (h.adds.low, h.adds.value, h.adds.high) if end is not None]
    low, high = min([0.0, *ends]), max([1e-9, *ends])
    rows = [[h.id, _interval(h.adds), drawn(h.adds, low, high, (0.0,)), *evidence_cells(h)] for h in hints]
    head = ["head", f"adds to {metric} [95%]", "drawn", *EVIDENCE]
    told = [text[:1].upper() + text[1:] for text in (ADDS.format(metric=metric), LABELS)]
    yield table(f"{'. '.join(told)}.", head, rows, words=[2, 3, 4])
    for at, text in SHARES.items():
        targets, cells = shares_table(hints, at)
        caption = (
            f"{text[:1].upper()}{text[1:]}, in the full model's clean runs. A position may count in several columns."
        )
        yield table(caption, ["head", *targets], [[h.id, *row] for h, row in zip(hints, cells, strict=True)])


def provenance(circuit: Circuit, command: str | None) -> Markup:
    """What the result depends on, and how to reproduce it."""
    model, task, method, batch = circuit.model, circuit.task, circuit.method, circuit.batch
    options = dict(method.options)
    order = options.pop("sender_order", None)
    settings = [
        method.objective and f"minimises {method.objective}",
        None if order is None else str(order),
        method.choose,
    ]
    settings += [f"{name} {value}" for name, value in options.items()]
    settings += [f"{name} {value:g}" for name, value in method.selection.items() if not name.startswith("polish_")]
    rows = [
        ("model", f"{model.name} ({model.family}), sha256 {model.content_hash[:16]}"),
        *([("revision", model.revision)] if model.revision else []),
        *([("weights", str(model.quantisation))] if model.quantisation else []),
        ("run as", f"{model.components} components, {circuit.dtype}"),
        ("task", f"{task.name}, sha256 {task.content_hash[:16]}"),
        ("rows", f"{len(task.discovery)} discovery ({task.split}), {len(task.verification)} verification"),
        ("method", ", ".join([method.name, *filter(None, settings)])),
        *([("polish", polished(circuit))] if polished(circuit) else []),
        ("metric", f"{circuit.metric} ({better(circuit.larger_is_better)})"),
        ("ablation", circuit.ablation),
        ("scores", circuit.sign_convention),
        ("batches", f"of {count_of(batch.size, 'row')}, {count_of(batch.threads, 'thread')}"),
        ("seed", str(circuit.seed)),
        ("versions", ", ".join(f"{name} {version}" for name, version in circuit.versions.items())),
    ]
    if command is None:
        return section("provenance", "How it was made", facts(rows))
    again = element("pre", element("code", command), class_="command", tabindex="0")
    return section("provenance", "How it was made", facts(rows), paragraph("To reproduce it:"), again)
