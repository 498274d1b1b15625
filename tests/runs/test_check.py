"""What check-task measures and warns of."""

import json

import numpy as np
import pytest
import torch
from families import NATIVE
from test_load import WIDTH, native_parameters, save_native

from acdc.model.load import load_model
from acdc.runs.check_task import RIGHT_ANSWER, check
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import RowBatch
from acdc.task.rows import Row


@pytest.fixture
def numbers(tmp_path):
    """A model whose output is a number, and rows about which nothing but the prompts is known."""
    config = NATIVE["native-no-norm"] | {"d_vocab_out": 1}
    parameters = native_parameters(config) | {"unembed.W_U": torch.linspace(-1, 1, WIDTH)[:, None].contiguous()}
    save_native(tmp_path / "numbers", config, parameters)
    rows = [{"clean": [1, 2 + i, 3, 4], "corrupted": [1, 2 + i, 9, 4]} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "--model", tmp_path / "numbers", "--task", tmp_path / "rows.jsonl"


def test_models_with_one_output_are_measured_by_its_distance(acdc, numbers):
    """By default, with true messages, against a run of the model's own modules."""
    _, folder, _, task = numbers
    model = load_model(str(folder))
    checked = acdc("check-task", task, "--model", folder, "--json").json
    rows = [json.loads(line) for line in task.read_text().splitlines()]
    outputs = {
        which: np.array([float(model.bridge(torch.tensor([row[which]]))[0, -1, 0]) for row in rows])
        for which in ("clean", "corrupted")
    }
    assert checked["metric"] == "squared_error" and set(checked["measures"]) == {"squared_error", "value"}
    assert checked["measures"]["squared_error"]["clean"] == 0
    expected = np.mean((outputs["clean"] - outputs["corrupted"]) ** 2)
    assert checked["measures"]["squared_error"]["corrupted"] == pytest.approx(expected, rel=1e-4)
    assert checked["measures"]["value"]["clean"] == pytest.approx(outputs["clean"].mean(), rel=1e-4)
    assert not any("same output" in warning for warning in checked["warnings"])


def test_a_circuit_of_a_number_is_found_and_verified(acdc, numbers):
    found = acdc("discover", *numbers, "--json", "--verify", "full", "--threshold", "1e-9")
    assert found.code == 0 and found.json["metric"] == "squared_error" and found.json["edges"] > 0
    assert set(found.json["verification"]["measures"]) == {"squared_error", "value"}
    assert found.json["faithfulness"] == pytest.approx(1.0, abs=0.01)
    assert acdc("discover", *numbers, "--metric", "value", "--method", "eap", "--edges", "20", "--out", "b").code == 0


def test_metrics_of_the_other_kind_of_model_are_refused(acdc, numbers):
    refused = acdc("discover", *numbers, "--metric", "kl")
    assert refused.code == 2
    assert (
        "metric 'kl' is not for this model, which has one output, a number: use squared_error or value" in refused.err
    )
    assert "use value" in acdc("discover", *numbers, "--method", "eap").err
    refused = acdc("discover", "--metric", "value")
    assert refused.code == 2 and "which has 250 outputs: use kl or logit_diff" in refused.err


def test_rows_are_not_blamed_for_a_mean(acdc, numbers, tmp_path):
    """Every prompt is the other's corrupted one, so that the mean value is the same."""
    pairs = [([1, 2, 3, 4], [1, 2, 9, 4]), ([1, 2, 9, 4], [1, 2, 3, 4])]
    lines = [json.dumps({"clean": clean, "corrupted": other}) for clean, other in pairs]
    (tmp_path / "mirrored.jsonl").write_text("\n".join(lines))
    words = ("discover", *numbers[:2], "--task", tmp_path / "mirrored.jsonl", "--limit", 2)
    refused = acdc(*words, "--metric", "value")
    assert (
        refused.code == 2 and "the means over these rows do not tell them apart, though single rows do" in refused.err
    )
    assert refused.err.rstrip().endswith("use squared_error") and acdc(*words).code == 0


@pytest.mark.parametrize("ablation", ["zero", "mean", "optimal"])
def test_other_ablations_of_a_number(acdc, numbers, ablation):
    found = acdc("discover", *numbers, "--ablation", ablation, "--method", "exact", "--edges", 30, "--json")
    assert found.code == 0 and found.json["verification"]["measures"]["squared_error"]["full"] == 0


def row(**answers) -> Row:
    return Row("r", (1, 2), (1, 3), answer_position=1, **answers)


def test_the_right_answer_is_the_likeliest_of_the_answers():
    """Whatever other tokens win, and however many answers there are."""
    logits = torch.tensor([[9.0, 1.0, 2.0, 3.0], [9.0, 4.0, 2.0, 3.0], [0.0, 1.0, 1.0, 0.0]])
    rows = (
        row(correct=(1, 3), incorrect=(2,)),  # 3 beats 2, though 1 does not
        row(correct=(3,), incorrect=(2, 1)),  # 1 beats 3
        row(correct=(1,), incorrect=(2,)),  # a tie is not right
    )
    assert RIGHT_ANSWER.per_row(logits, RowBatch(rows, logits)).tolist() == [1, 0, 0]


def test_groups_make_up_the_whole():
    """Means over groups, weighted by their rows, are the means over all rows."""
    found = check(DiscoveryJob("trio", "greater_than", DiscoverySettings()))
    assert sum(group.rows for group in found.groups) == found.rows == 128
    for name, ends in found.measures.items():
        weighted = sum(group.rows * group.measures[name] for group in found.groups) / found.rows
        assert weighted == pytest.approx(ends["clean"], rel=1e-9, abs=1e-12)
    assert json.loads(json.dumps(found.as_record()))["groups"][0]["group"] == "century-11"


def test_a_task_that_the_model_cannot_do_is_warned_of(acdc, tmp_path):
    lines = [
        {
            "clean": f"When {a} and {b} went to the store, {b} gave a drink to",
            "correct": [f" {b}"],
            "incorrect": [f" {a}"],
        }
        | {"corrupted": f"When {a} and {b} went to the park, {b} gave a drink to"}
        for a, b in (("Mary", "John"), ("Anna", "Paul"), ("Emma", "Mark"))
    ]
    (tmp_path / "wrong.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = acdc("check-task", "wrong.jsonl")
    assert "warning: the model is right on 0% of the rows" in done.out
    assert "by group" not in done.out  # it has none


def test_only_some_of_many_groups_are_shown(acdc, tmp_path):
    line = {"clean": [2, 26], "corrupted": [2, 27], "correct": [3], "incorrect": [4]}
    rows = [line | {"clean": [2, 26 + i], "group": f"g{i:02d}"} for i in range(25)]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = acdc("check-task", "many.jsonl")
    assert "g19" in done.out and "g20" not in done.out and "20 of 25 groups; --json has all" in done.out
    assert len(acdc("check-task", "many.jsonl", "--json").json["groups"]) == 25


def test_rows_without_answers_have_their_divergence_alone(acdc, tmp_path):
    (tmp_path / "free.jsonl").write_text(json.dumps({"clean": [2, 26], "corrupted": [2, 27], "group": "all"}))
    record = acdc("check-task", "free.jsonl", "--json").json
    assert list(record["measures"]) == ["kl"] and record["groups"] == [
        {"group": "all", "rows": 1, "measures": {"kl": 0}}
    ]
    assert acdc("check-task", "free.jsonl").code == 0


def test_many_rows_are_measured_some_at_a_time(monkeypatch):
    """In whole batches of the same rows, so that it makes no difference."""
    from acdc.runs import check_task

    job = DiscoveryJob("trio", "greater_than", DiscoverySettings(batch_size=16))
    whole = check(job)
    bound = []
    monkeypatch.setattr(check_task, "MOST_ROWS", 40)
    monkeypatch.setattr(check_task, "bind", lambda *given: bound.append(len(given[3])) or bind(*given))
    assert check(job) == whole
    assert bound == [32, 32, 32, 32]


def test_memory_and_tokenizer_calls_grow_slowly_with_the_rows(tmp_path, trio, monkeypatch):
    """At most 1 KB is held of a short row, and the tokenizer is given hundreds of texts at a time."""
    import tracemalloc

    from acdc.task.load import load_task

    line = {"corrupted": "John and Mary went to the", "correct": [" store"], "incorrect": [" park"]}
    calls, encode = [], type(trio.tokenizer).__call__
    monkeypatch.setattr(type(trio.tokenizer), "__call__", lambda *a, **k: calls.append(1) or encode(*a, **k))

    def load(rows: int) -> int:
        """The peak in bytes."""
        path = tmp_path / "t.jsonl"
        names = ("Mary", "John", "Anna", "Paul")
        lines = ({**line, "clean": f"{names[i % 4]} and {names[i // 4 % 4]} went to the"} for i in range(rows))
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        tracemalloc.start()
        try:
            assert len(load_task(path, trio).rows) == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, before = load(2000), len(calls)
    many = load(8000)
    assert many - few < 6000 * 1024
    assert len(calls) - before < 8000 / 100
