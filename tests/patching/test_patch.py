"""Maps of effects: what they are normalised by, their columns, noise, and the files of a run."""

import csv
import json

import numpy as np
import pytest
import torch
from families import boot, random_rows

import acdc
from acdc.artefacts.patching import PatchRecord
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.model.load import load_model
from acdc.patching import cost
from acdc.patching.noise import Noise
from acdc.patching.places import by_position, by_span
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.task.rows import Row, Task
from acdc.task.spans import Spans


@pytest.fixture(scope="module")
def ioi(trio):
    return load_task("ioi", trio)


@pytest.fixture(scope="module")
def both(trio, ioi):
    return acdc.patch(trio, ioi, direction="both", limit=6, threads=1)


def effects(record: PatchRecord, site: str, direction: str = "denoise") -> np.ndarray:
    return np.array(record.map(site, direction).effect, dtype=float)


def test_zero_is_the_base_run_and_one_the_other(trio, ioi, both):
    """Of all tokens that differ, the whole residual stream before the first layer is the other prompt."""
    task = Task("all", tuple(_one_span(row) for row in ioi.rows[:6]), ioi.metric)
    record = acdc.patch(trio, task, ["resid_pre", "resid_post"], direction="both", threads=1)
    for direction in ("denoise", "noise"):
        whole = effects(record, "resid_pre", direction)
        assert abs(whole[0, 0] - 1) < 1e-9 and abs(whole[0, 1]) < 1e-9, "the rest is the same in both prompts"
        assert np.allclose(effects(record, "resid_post", direction)[:-1], whole[1:], atol=1e-9)
        assert np.allclose(effects(both, "resid_pre", direction)[0, [2, 4, 5]], 0, atol=1e-9)
    behaviour = Behaviour(trio, ioi, range(6), METRICS["logit_diff"], "zero")
    ends = [float(behaviour.plain([behaviour.metric], corrupted)[0].mean()) for corrupted in (False, True)]
    assert np.allclose([record.metric_clean, record.metric_corrupted], ends, atol=1e-9)
    one = both.map("resid_pre")
    shares = (np.array(one.metric) - ends[1]) / (ends[0] - ends[1])
    assert np.allclose(shares, np.array(one.effect), atol=1e-9)


def _one_span(row: Row) -> Row:
    from dataclasses import replace

    return replace(row, spans=Spans(("words",), ((1, len(row.clean)),)))


def test_the_columns_are_spans_positions_or_heads(trio, ioi, both):
    one = both.map("resid_pre")
    assert one.columns == ["IO", "S1", "S1+1", "S2", "end", "rest"] and one.rows == ["0", "1", "2", "3"]
    assert (one.column_kind, one.row_kind, one.measured) == ("span", "layer", [6] * 6)
    heads = both.map("head")
    assert (heads.columns, heads.column_kind) == (["h0", "h1", "h2", "h3"], "head")
    record = acdc.patch(trio, ioi, ["q", "attn_out"], heads_by_place=True, limit=2, threads=1)
    assert record.map("q").rows[:5] == ["a0.h0", "a0.h1", "a0.h2", "a0.h3", "a1.h0"]
    assert record.map("q").columns == one.columns and record.map("q").cell("a0.h1", "end") == "a0.h1@end"
    assert heads.cell("3", "h2") == "a3.h2" and heads.strongest(1)[0][0].startswith("a")


def test_positions_are_counted_from_the_answer_where_it_is_not_at_one_place():
    rows = [Row(str(i), (1,) * (at + 2), None, (1,), (2,), at) for i, at in enumerate((2, 4))]
    causal, whole = by_position(rows, whole=False), by_position(rows, whole=True)
    assert causal.names == ("-4", "-3", "-2", "-1", "0") and causal.numbers[0] == (2, 3, 4, -1)
    assert whole.names == (*causal.names, "1") and whole.numbers[0] == (2, 3, 4, 5)
    assert by_position(rows[1:], whole=False).names == ("0", "1", "2", "3", "4")
    masks = causal.masks([0, 1], 6, torch.device("cpu"))
    assert masks[2].tolist() == [[True] + [False] * 5, [False, False, True] + [False] * 3]


def test_rows_without_a_place_have_no_share_in_it():
    """A cell is the same whether rows that lack its position are there or not."""
    model, task = boot("gpt2", 2, 0), random_rows([4, 6, 6])
    record = acdc.patch(model, task, ["resid_pre"], by="positions", threads=1)
    alone = acdc.patch(model, Task("alone", task.rows[1:], task.metric), ["resid_pre"], threads=1)
    one, two = record.map("resid_pre"), alone.map("resid_pre")
    assert one.columns == ["-5", "-4", "-3", "-2", "-1", "0"] and one.measured == [2, 2, 3, 3, 3, 3]
    assert np.allclose(np.array(one.effect)[:, :2], np.array(two.effect)[:, :2], atol=1e-9)
    assert not np.allclose(np.array(one.effect)[:, 2:], np.array(two.effect)[:, 2:], atol=1e-3)


def test_spans_may_be_missing_from_no_row():
    rows = [Row(str(i), (1, 2, 3), None, (1,), (2,), 2, spans=Spans(("a",), ((i, i + 2),))) for i in range(2)]
    places = by_span(rows, ("a",))
    assert places.names == ("a", "rest") and places.numbers == ((0, 0, 1), (1, 0, 0))


def test_batches_do_not_matter(trio, ioi, both):
    small = acdc.patch(trio, ioi, ["resid_pre", "pattern"], limit=6, batch_size=2, threads=1)
    for site in ("resid_pre", "pattern"):
        assert np.allclose(effects(small, site), effects(both, site), atol=1e-9)


def test_noise_is_that_of_the_subject(trio, ioi):
    """Of the embeddings' own standard deviation; other tokens have none; it depends on seed, row and sample alone."""
    noises, behaviours = [], [Behaviour(trio, ioi, range(rows), METRICS["kl"], "zero") for rows in (6, 3)]
    for behaviour in behaviours:
        (batch, *_), found = behaviour.batches, Noise.of(behaviour, 3, 2.0, seed=1)
        embedded = behaviour.executor.embed(batch.tokens).sum(0)
        noises.append((batch, {i: (found.added(batch, embedded, i) - embedded) / found.sigma for i in (0, 1)}))
    (batch, large), (_, small) = noises
    for row, index in enumerate(batch.index):
        places = range(*ioi.rows[index].spans.bounds[3])
        elsewhere = [place for place in range(batch.tokens.shape[1]) if place not in places]
        assert (large[0][row, elsewhere] == 0).all() and (large[0][row, list(places)] != 0).all()
    assert (large[0] - large[1]).abs().max() > 0.1
    width = min(x.shape[1] for x in (large[0], small[0]))
    first = list(batch.index).index(noises[1][0].index[0])
    assert torch.allclose(large[0][first, :width], small[0][0, :width])


def test_causal_tracing_restores_the_clean_run(trio, ioi):
    record = acdc.patch(trio, ioi, subject="S2", samples=2, limit=4, window=4, threads=1)
    assert [one.site for one in record.maps] == ["resid_post", "mlp_out", "attn_out"]
    assert record.noise.window == 4 and record.noise.samples == 2
    found = effects(record, "resid_post")
    assert abs(found[0, 3] - 1) < 1e-2 and abs(found[3, 4] - 1) < 1e-9, "all of it is at S2, then at the end"
    assert np.allclose(
        found,
        effects(acdc.patch(trio, ioi, ["resid_post"], subject="S2", samples=2, limit=4, threads=1), "resid_post"),
        atol=1e-12,
    )
    assert record.metric_clean > record.metric_corrupted


def test_rows_are_as_many_as_operations_allow(trio, ioi, monkeypatch):
    monkeypatch.setattr(cost, "MOST_FLOPS", 1e9)
    assert cost.FEWEST_ROWS < len(acdc.patch(trio, ioi, ["q"], threads=1).task.rows) < 20
    monkeypatch.setattr(cost, "MOST_FLOPS", 1.0)
    assert len(acdc.patch(trio, ioi, ["q"], threads=1).task.rows) == cost.FEWEST_ROWS
    assert len(acdc.patch(trio, ioi, ["q"], limit=9, threads=1).task.rows) == 9


REFUSED = {
    "map 'heads' is not one of": {"maps": ["heads"]},
    "no maps are asked for": {"maps": []},
    "direction 'up' is not one of": {"direction": "up"},
    "limit=129 is more than the task's 128 rows": {"limit": 129},
    "subject 'noun' is no span of task 'ioi', whose spans are IO, S1": {"subject": "noun"},
    "subject restores clean values": {"subject": "S2", "direction": "both"},
    "window goes with subject": {"window": 2},
    "noise nan": {"noise": float("nan")},
    "samples=0 must be at least 1": {"samples": 0},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(trio, ioi, message):
    with pytest.raises(InputError, match=message):
        acdc.patch(trio, ioi, **REFUSED[message])


def test_rows_without_what_is_asked_for_are_refused(trio, ioi):
    from dataclasses import replace

    plain = Task("plain", tuple(replace(row, spans=None, corrupted=None) for row in ioi.rows[:2]), "kl")
    with pytest.raises(InputError, match="row 'ioi-000' has none: give it one, or with subject noise"):
        acdc.patch(trio, plain)
    for asked in ({"by": "spans"}, {"subject": "S2"}):
        with pytest.raises(InputError, match="task 'plain' has no spans: give each of its rows"):
            acdc.patch(trio, plain, **asked)
    same = Task("same", tuple(replace(row, corrupted=row.clean) for row in ioi.rows[:2]), ioi.metric)
    with pytest.raises(InputError, match="on the clean prompts and on the corrupted prompts alike"):
        acdc.patch(trio, same)


def test_prompts_of_unequal_length_are_patched_by_span():
    """In batches of rows of other lengths; what cannot be meant is refused."""
    ends = {"clean": [(1, 4), (5, 6)], "corrupted": [(1, 2), (3, 4)]}
    clean, corrupted = (Spans(("a", "end"), tuple(ends[side])) for side in ("clean", "corrupted"))
    long, short = (1, 2, 3, 4, 5, 6), (1, 7, 8, 9)
    rows = (
        Row("one", long, short, (3,), (4,), 5, None, clean, corrupted),
        Row("two", short, long, (5,), (6,), 3, None, corrupted, clean),
        Row("three", long, (1, 9, 9, 9, 5, 6), (7,), (8,), 5, None, clean),
    )
    model, sites = boot("gpt2", 2, 0), ["resid_pre", "k"]
    together = acdc.patch(model, Task("all", rows, "logit_diff"), sites, direction="both", threads=1)
    alone = [acdc.patch(model, Task("one", (row,), "logit_diff"), sites, direction="both", threads=1) for row in rows]
    for number, one in enumerate(together.maps):
        means = np.mean([np.array(record.maps[number].metric, dtype=float) for record in alone], axis=0)
        assert np.allclose(means, np.array(one.metric, dtype=float), atol=1e-9), one.name
    assert "pattern" not in {one.site for one in acdc.patch(model, Task("all", rows, "logit_diff"), threads=1).maps}
    for asked, message in (({"maps": ["pattern"]}, "take q and k"), ({"by": "positions"}, "leave out by positions")):
        with pytest.raises(InputError, match=message):
            acdc.patch(model, Task("all", rows, "logit_diff"), **asked)


def test_a_run_is_written_once(acdc, tmp_path):
    command = "patch", "trio", "ioi", "--limit", "2", "--maps", "resid_pre,q", "--out", "maps"
    done = acdc(*command)
    assert done.code == 0, done.err
    assert "FLOPs" in done.err and "2 of 128 rows" in done.err and "resid_pre" in done.out
    folder = tmp_path / "maps"
    names = {"patching.json", "patching.csv", "patching.html", "resid_pre_denoise.svg", "q_denoise.svg", "run.json"}
    assert {path.name for path in folder.iterdir()} == names
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.json"}
    record = PatchRecord.model_validate_json(before["patching.json"])
    with (folder / "patching.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 6 + 4 * 4 and rows[0]["column"] == "IO"
    assert float(rows[0]["effect"]) == record.map("resid_pre").effect[0][0]
    again = acdc(*command, "--json")
    assert json.loads(again.out)["maps"] == json.loads(before["patching.json"])["maps"] and "FLOPs" not in again.err
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.json"}
    assert "patch" in acdc("list", "runs", "--out", ".").out
    assert "holds activation patching" in acdc("show", "maps").err
    assert "other inputs (maps" in acdc("patch", "trio", "ioi", "--limit", "2", "--out", "maps").err


def test_parquet_has_the_same_table(acdc, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    done = acdc("patch", "trio", "ioi", "--limit", "1", "--maps", "q", "--out", "t", "--tables", "csv,parquet")
    assert done.code == 0, done.err
    found = parquet.read_table(tmp_path / "t/patching.parquet").to_pylist()
    with (tmp_path / "t/patching.csv").open() as file:
        assert [str(row["effect"]) for row in found] == [row["effect"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pictures", "gif"), "--pictures 'gif' is not one of svg, png, pdf"),
        (("--tables", "xlsx"), "--tables 'xlsx' is not one of csv, parquet"),
        (("--maps", "resid"), "map 'resid' is not one of"),
        (("--limit", "0"), "--limit 0 must be at least 1"),
    ],
)
def test_bad_options_leave_nothing_behind(acdc, tmp_path, words, message):
    done = acdc("patch", "trio", "ioi", *words, "--out", "t")
    assert done.code == 2 and message in done.err and not (tmp_path / "t").exists()


def test_without_pyarrow_parquet_is_refused(acdc, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "install pyarrow, or take csv" in acdc("patch", "trio", "ioi", "--tables", "parquet").err


def test_other_dtypes_work():
    model = load_model("trio", dtype="bfloat16")
    assert acdc.patch(model, load_task("induction", model), ["pattern", "head"], limit=2, threads=1).dtype == "bfloat16"
