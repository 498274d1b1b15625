"""The bundled model on its tasks, batching and the split."""

import pytest
import train_trio

from acdc.errors import InputError
from acdc.task.load import load_task
from acdc.task.rows import Row, bucket
from acdc.task.split import split_rows


@pytest.mark.parametrize("behaviour", train_trio.BEHAVIOURS)
def test_bundled_model_masters_held_out_combinations(trio, behaviour):
    """At least 99 % on names, years and words that training never combined."""
    seen, held_out = train_trio.split_combinations()
    for ours, theirs in ((seen.names, held_out.names), (seen.years, held_out.years), (seen.words, held_out.words)):
        assert not set(ours) & set(theirs)
    model = trio.bridge.original_model
    plain = model.double()
    assert train_trio.accuracy(_Unwrapped(plain), trio.tokenizer, held_out, behaviour, 1000, seed=7) >= 0.99


class _Unwrapped:
    """The training script's view of a model, over the bridge's modules."""

    def __init__(self, model):
        self.base_model, self.lm_head = model.transformer, model.lm_head


@pytest.mark.parametrize("name", train_trio.BEHAVIOURS)
def test_bundled_tasks_are_well_formed(trio, name):
    task = load_task(name, trio)
    assert len(task.rows) == 128
    assert all(len(row.clean) == len(row.corrupted) and row.clean != row.corrupted for row in task.rows)
    assert load_task(name, trio).content_hash() == task.content_hash()


def make_rows(prompts: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[Row]:
    return [Row(str(i), clean, corrupted, (1,), (2,), 0) for i, (clean, corrupted) in enumerate(prompts)]


def test_buckets_hold_rows_of_one_length():
    rows = make_rows([((1,) * n, (2,) * n) for n in (3, 5, 3, 3, 5, 4)])
    batches = bucket(rows, 2)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert batches == [[0, 2], [3], [5], [1, 4]]


def test_split_keeps_duplicates_together():
    """Half of the rows mirror or repeat the other half; no such pair is torn."""
    pairs = [((i, 1), (i, 2)) for i in range(20)]
    rows = make_rows(pairs + [(b, a) for a, b in pairs[:10]] + [(a, (9, 9)) for a, _ in pairs[10:]])
    for seed in range(5):
        split = split_rows(rows, seed)
        assert sorted(split.discovery + split.verification) == list(range(40))
        assert abs(len(split.discovery) - 20) <= 1
        assert all((i in split.discovery) == (i + 20 in split.discovery) for i in range(20))
    assert split_rows(rows, 0) == split_rows(rows, 0)
    assert split_rows(rows, 0) != split_rows(rows, 1)


def test_limit_takes_the_first_rows_and_counts_duplicates():
    rows = make_rows([((1,), (2,)), ((3,), (4,)), ((2,), (1,)), ((5,), (6,))])
    split = split_rows(rows, 0, limit=2)
    assert (split.discovery, split.verification, split.duplicates) == ((0, 1), (2, 3), 1)
    assert split_rows(rows, 0, limit=4).verification == ()
    for limit in (0, 5):
        with pytest.raises(InputError, match="--limit"):
            split_rows(rows, 0, limit)
