"""Where heads attend, against loops over positions, and what heads whose job is known are labelled as."""

import random

import numpy as np
import pytest
from families import boot

import acdc
from acdc.artefacts.verification.mechanism import HeadHint
from acdc.benchmark.compiled import CompiledCase
from acdc.benchmark.trained_cases import TrainedCase
from acdc.graph import Writer, WriterKind
from acdc.render.hints import evidence_cells, shares_table
from acdc.search.discover import bind
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Row, Task
from acdc.verification.attention import COLUMNS, TARGETS, Shares, attention_shares, clean_patterns
from acdc.verification.head_labels import evidence_for
from acdc.verification.intervals import Bootstrap
from acdc.verification.mechanism import hint


def nobody(done, note=""):
    pass


def head(name):
    layer, place = name.removeprefix("a").split(".h")
    return Writer(WriterKind.HEAD, int(layer), int(place))


def is_target(name, row, here, there):
    """Whether one position is such a target of another, in the plainest words."""
    tokens, changed = row.clean, row.clean[there] != row.corrupted[there]
    return {
        "previous token": there == here - 1,
        "next token": there == here + 1,
        "duplicate token": there != here and tokens[there] == tokens[here],
        "induction": there > 0 and there - 1 != here and tokens[there - 1] == tokens[here],
        "corrupted token": changed,
        "answer token": tokens[there] in row.correct,
        "first token": there == 0,
        "itself": there == here,
    }[name]


def looped_shares(row, pattern, target, bidirectional):
    """(share of all attention, of what does not rest) of each position that counts, by position."""
    end = len(row.clean) if bidirectional else row.answer_position + 1
    whole, active = {}, {}
    for here in range(end):
        seen = [there for there in range(end) if bidirectional or there <= here]
        wanted = [there for there in seen if is_target(target, row, here, there)]
        resting = [there for there in seen if there in (0, here) and there not in wanted]
        if not wanted or len(wanted) == len(seen):
            continue
        share = sum(float(pattern[here, there]) for there in wanted)
        whole[here] = share
        if len(wanted) + len(resting) < len(seen):
            active[here] = share / (1 - sum(float(pattern[here, there]) for there in resting))
    return whole, active


@pytest.mark.parametrize("family", ["native", "native-bidirectional", "gemma2"])
def test_shares_against_loops_over_positions(family):
    """Random models over rows of several lengths whose answers stand anywhere, at the first position too."""
    generator, model = random.Random(0), boot(family, 2, 0)
    rows = []
    for number, length in enumerate([7, 5, 7, 9, 6]):
        clean = tuple(generator.randrange(4) for _ in range(length))
        corrupted = tuple(token if generator.random() < 0.7 else 7 for token in clean)
        place = 0 if model.anatomy.bidirectional and number < 3 else length - 1
        rows.append(Row(str(number), clean, corrupted, (clean[1],), (9,), place))
    behaviour = bind(model, Task("drawn", tuple(rows), "logit_diff"), DiscoverySettings(batch_size=2), range(len(rows)))
    found = attention_shares(behaviour)
    for layer in range(2):
        patterns = {}
        for batch in behaviour.batches:
            for place, row in enumerate(batch.answers.rows):
                patterns[row.id] = clean_patterns(behaviour, batch, layer)[:, place]
        for number, target in enumerate(TARGETS):
            for h in range(model.anatomy.n_heads):
                of_rows = [looped_shares(r, patterns[r.id][h], target, model.anatomy.bidirectional) for r in rows]
                for which, array in enumerate((found.whole, found.active)):
                    by_row = [of_row[which] for of_row in of_rows]
                    everywhere = [np.mean(list(shares.values())) for shares in by_row if shares]
                    last = [
                        shares[r.answer_position]
                        for shares, r in zip(by_row, rows, strict=True)
                        if r.answer_position in shares
                    ]
                    expected = [np.mean(shares) if shares else np.nan for shares in (everywhere, last)]
                    assert array[layer, h, :, number] == pytest.approx(expected, abs=1e-9, nan_ok=True), target
    if model.anatomy.bidirectional:
        assert np.isfinite(found.whole[..., 0, TARGETS.index("next token")]).all()
        assert (found.whole[:, :, 1, TARGETS.index("itself")] > 0).all(), "an answer at the first position is read"


KNOWN = {
    ("compiled", "induction"): {"a0.h0": "previous token", "a1.h0": "induction"},
    ("compiled", "two-back"): {"a0.h0": "previous token", "a1.h0": "previous token"},
    ("compiled", "duplicate"): {"a0.h0": "duplicate token"},
    ("compiled", "histogram"): {"a0.h0": "duplicate token"},
    ("compiled", "brackets"): {"a0.h0": "all tokens evenly", "a1.h0": "all tokens evenly"},
    ("compiled", "fraction"): {"a1.h0": "all tokens evenly"},
    ("compiled", "miniature-ioi"): {"a0.h0": "duplicate token", "a1.h0": "previous token", "a2.h0": "answer token"},
    ("trained", "induction"): {"a0.h0": "previous token", "a1.h0": "induction"},
    ("trained", "duplicate"): {"a0.h0": "duplicate token"},
    ("trained", "brackets"): {"a0.h0": "all tokens evenly", "a1.h0": "all tokens evenly"},
    ("trained", "miniature-ioi"): {"a1.h0": "previous token", "a2.h0": "answer token"},
}


@pytest.mark.parametrize(("kind", "name"), KNOWN)
def test_heads_with_a_known_job_are_labelled_by_it(tmp_path, kind, name):
    case = (CompiledCase("test", name) if kind == "compiled" else TrainedCase(name)).prepare(tmp_path, "cpu", None)
    behaviour = bind(case.model, case.task, DiscoverySettings(metric="kl"), range(len(case.task.rows)))
    shares = attention_shares(behaviour)
    found = {name: evidence_for(head(name), shares) for name in KNOWN[kind, name]}
    assert {name: one and one.target for name, one in found.items()} == KNOWN[kind, name]


def test_labels_of_the_bundled_model(trio, induction):
    """Induction with key composition; heads that bring the names, which are what was corrupted, to the end."""
    shares = attention_shares(bind(trio, induction, DiscoverySettings(), range(24)))
    assert {evidence_for(head(f"a0.h{h}"), shares).target for h in (1, 3)} == {"previous token"}
    assert {evidence_for(head(f"a1.h{h}"), shares).target for h in (1, 2, 3)} == {"induction"}
    shares = attention_shares(bind(trio, acdc.load_task("ioi", trio), DiscoverySettings(), range(24)))
    movers = [evidence_for(head(f"a1.h{h}"), shares) for h in range(4)]
    assert {one.target for one in movers} == {"corrupted token"}
    assert all(one.active > 0.85 > 0.5 > one.others for one in movers)


def shares_of(active, even, whole=None):
    """Heads of one layer with these shares of a target over all positions; of others nothing."""

    def placed(values, size):
        found = np.full((1, size, 2, len(COLUMNS)), np.nan)
        for name, shares in values.items():
            found[0, :, 0, COLUMNS.index(name)] = shares
        return found

    size = len(next(iter(active.values())))
    return Shares(placed(whole or active, size), placed(active, size), placed(even, 1)[0, 0])


def test_a_head_is_judged_against_the_others():
    """The published heads: 35.9 % to the previous token where others have 5 to 7 %, and 31 % of induction where others
    have 2 to 5 %, have no half of the attention."""
    found = shares_of({"previous token": [0.05, 0.359, 0.07, 0.06]}, {"previous token": 0.03})
    assert [e and e.target for e in (evidence_for(head(f"a0.h{i}"), found) for i in range(4))] == [
        None,
        "previous token",
        None,
        None,
    ]
    evidence = evidence_for(head("a0.h1"), found)
    assert (evidence.others, evidence.even, evidence.label) == (0.06, 0.03, "attends to: previous token")
    found = shares_of({"induction": [0.02, 0.05, 0.31, 0.04]}, {"induction": 0.02})
    assert evidence_for(head("a0.h2"), found).target == "induction"
    alike = shares_of({"induction": [0.3, 0.35, 0.31, 0.32]}, {"induction": 0.1})
    assert evidence_for(head("a0.h2"), alike) is None, "nothing that all heads do"
    alone = shares_of({"induction": [0.35]}, {"induction": 0.1})
    assert evidence_for(head("a0.h0"), alone).others is None


def test_a_direct_effect_is_what_a_head_adds(trio):
    """Name movers are positive: the difference to a run without the edge, computed by the executor one by one."""
    task = acdc.load_task("ioi", trio)
    behaviour = bind(trio, task, DiscoverySettings(metric="logit_diff"), range(8))
    heads = [writer for writer in behaviour.graph.writers if writer.kind is WriterKind.HEAD]
    hints = hint(behaviour, heads, Bootstrap(8, 0), nobody)
    for one in hints:
        removed = behaviour.graph.mask([f"{one.id}->logits"])
        without = behaviour.measure(removed[None])[0, 0]
        assert one.adds.value == pytest.approx(float((behaviour.full() - without).mean()))
        assert one.adds.low <= one.adds.value <= one.adds.high
    movers = [
        one
        for one in hints
        if one.label == "attends to: corrupted token" and one.attention.answer["answer token"] > 0.4
    ]
    assert movers and sum(one.adds.value for one in movers) > 1.0


def test_a_hint_of_before_is_read_with_its_own_sign():
    """Files of before hold the effect of the removal, and other words for the targets."""
    attention = {"everywhere": {"previous": 0.7}, "answer": {"answer token": 0.1}}
    direct = {"low": -0.5, "value": -0.4, "high": -0.1}
    old = HeadHint.model_validate(
        {"id": "a0.h0", "direct": direct, "attention": attention, "label": "attends mostly: previous"}
    )
    assert (old.adds.low, old.adds.value, old.adds.high) == (0.1, 0.4, 0.5)
    assert old.label == "attends to: previous token"
    assert HeadHint.model_validate(old.model_dump(mode="json")) == old
    assert shares_table([old], "everywhere") == (["previous"], [["70.0%"]])


def test_what_is_shown_says_the_evidence():
    shares = shares_of(
        {"previous token": [0.05, 0.45, 0.07]}, {"previous token": 0.03}, {"previous token": [0, 0.359, 0]}
    )
    evidence = evidence_for(head("a0.h1"), shares)
    attention = {"everywhere": {"previous token": 0.359, "next token": None}, "answer": {"all tokens evenly": 0.5}}
    interval = {"low": None, "value": 1.0, "high": None}
    shown = HeadHint(id="a0.h1", adds=interval, attention=attention, label=evidence.label, evidence=evidence)
    assert evidence_cells(shown) == ["previous token", "all positions", "45.0%", "6.0%", "3.0%", "35.9%"]
    assert shares_table([shown], "everywhere") == (["previous"], [["35.9%"]]), "no column for what there is not"
    assert shares_table([shown], "answer") == (["evenly"], [["50.0%"]])
