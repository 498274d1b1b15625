"""Example rows against the model itself: tokens, metrics and attention patterns."""

import json
import math
import re

import numpy as np
import pytest
import torch

import acdc
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.examples import load_examples
from acdc.errors import InputError
from acdc.verification.examples import MOST_HEADS, MOST_PREDICTED, MOST_ROWS, MOST_TOKENS, take_examples


@pytest.fixture(scope="module")
def circuit(trio, induction) -> Circuit:
    return acdc.discover(trio, induction, method="eap", edges=40).circuit


@pytest.fixture(scope="module")
def examples(trio, induction, circuit):
    return take_examples(trio, induction, circuit)


def test_rows_are_unseen_and_of_every_template(induction, circuit, examples):
    rows = {row.id: row for row in induction.rows}
    assert examples.of == "verification" and len(examples.rows) == MOST_ROWS
    assert {example.row for example in examples.rows} <= set(circuit.task.verification)
    assert {example.group for example in examples.rows} == {row.group for row in induction.rows}
    for example in examples.rows:
        row = rows[example.row]
        assert len(example.clean) == len(example.corrupted) == example.length == len(row.clean)
        assert [a != b for a, b in zip(example.clean, example.corrupted, strict=True)] == [
            a != b for a, b in zip(row.clean, row.corrupted, strict=True)
        ]


def test_patterns_are_those_of_the_model(trio, induction, examples):
    """The model's own attention, as its bridge caches it."""
    rows = {row.id: row for row in induction.rows}
    assert 0 < len(examples.heads) <= MOST_HEADS
    for example in examples.rows:
        tokens = torch.tensor([rows[example.row].clean])
        with torch.no_grad():
            _, cache = trio.bridge.run_with_cache(tokens)
        for head, pattern in zip(examples.heads, example.patterns, strict=True):
            layer, number = map(int, re.fullmatch(r"a(\d+)\.h(\d+)", head).groups())
            expected = cache[f"blocks.{layer}.attn.hook_pattern"][0, number].numpy()
            found = np.zeros_like(expected)
            for place, shares in enumerate(pattern):
                found[place, : len(shares)] = shares
            assert np.abs(found - expected).max() <= 0.6e-4


def test_metrics_are_those_of_the_row(trio, induction, circuit, examples):
    rows = {row.id: row for row in induction.rows}
    for example in examples.rows:
        row = rows[example.row]
        with torch.no_grad():
            logits = trio.bridge(torch.tensor([row.clean]))[0, row.answer_position]
        difference = logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean()
        assert example.full == pytest.approx(float(difference), rel=1e-5)
    report = acdc.verify(trio, induction, circuit)
    assert min(e.circuit for e in examples.rows) > report.measures["logit_diff"].empty


def test_predictions_are_those_of_the_model(trio, induction, examples):
    """Of the full model by its bridge; of the circuit, they fit its metric where both answers are among them."""
    rows, fitted = {row.id: row for row in induction.rows}, 0
    for example in examples.rows:
        row, predicted = rows[example.row], example.predictions
        with torch.no_grad():
            shares = trio.bridge(torch.tensor([row.clean]))[0, row.answer_position].softmax(-1)
        best = shares.topk(MOST_PREDICTED)
        assert [one.share for one in predicted.full] == pytest.approx(best.values.tolist(), rel=1e-4)
        assert [one.token for one in predicted.full] == [trio.tokenizer.decode([i]) for i in best.indices.tolist()]
        own = {one.token: one.share for one in predicted.circuit}
        assert list(own.values()) == sorted(own.values(), reverse=True) and sum(own.values()) <= 1 + 1e-9
        if len(row.incorrect) == len(row.correct) == 1 and {*example.correct, *example.incorrect} <= set(own):
            logits = [math.log(own[token]) for token in (*example.correct, *example.incorrect)]
            assert logits[0] - logits[1] == pytest.approx(example.circuit, rel=1e-3)
            fitted += 1
    assert fitted


def test_the_same_again_and_only_of_its_circuit(trio, induction, circuit, examples, tmp_path):
    (tmp_path / "examples.json").write_text(examples.to_json())
    assert load_examples(tmp_path, circuit) == examples == take_examples(trio, induction, circuit)
    record = json.loads((tmp_path / "examples.json").read_text())
    (tmp_path / "examples.json").write_text(json.dumps(record | {"metric": "kl"}))
    with pytest.raises(InputError, match="belongs to another circuit"):
        load_examples(tmp_path, circuit)


def test_without_unseen_rows_those_of_discovery_serve(trio, induction):
    circuit = acdc.discover(trio, induction, method="random", edges=9, limit=128).circuit
    examples = take_examples(trio, induction, circuit)
    assert examples.of == "discovery" and len(examples.rows) == MOST_ROWS


def test_long_rows_are_cut_to_what_leads_to_the_answer(trio, induction, circuit):
    from dataclasses import replace

    from acdc.verification.examples import _window

    row = induction.rows[0]
    long = replace(row, clean=row.clean[:1] * 100, corrupted=row.corrupted[:1] * 100, answer_position=89)
    assert _window(long) == slice(90 - MOST_TOKENS, 90) and _window(row) == slice(0, len(row.clean))
    assert _window(replace(long, answer_position=3)) == slice(0, MOST_TOKENS)


def test_a_model_run_by_its_own_modules_has_no_patterns(trio, induction, circuit):
    from dataclasses import replace

    from acdc.model.replay import ReplayComponents

    replayed = replace(trio, components=ReplayComponents(trio.bridge, trio.anatomy))
    examples = take_examples(replayed, induction, circuit)
    assert examples.heads == [] and "its own modules" in examples.no_patterns
    usual = take_examples(trio, induction, circuit)
    assert [e.full for e in examples.rows] == pytest.approx([e.full for e in usual.rows])


def test_tokens_say_their_span_where_a_circuit_has_some(trio, induction, examples):
    assert all(example.spans is None and "spans" not in example.model_dump() for example in examples.rows)
    settings = {"method": "eap", "edges": 20, "limit": 4}
    circuit = acdc.discover(trio, induction, level="positions", **settings).circuit
    rows = {row.id: row for row in induction.rows}
    for example in take_examples(trio, induction, circuit).rows:
        row = rows[example.row]
        expected = {place: name for name, places in row.spans for place in places}
        assert example.spans == [expected.get(place, "rest") for place in range(example.length)]
        assert set(example.spans) <= set(circuit.spans.names)
