"""Bundled tasks, generators, batching and the split."""

import re
from collections import Counter
from dataclasses import replace

import pytest
import train_trio
from tokenizers import Regex

from acdc.errors import InputError
from acdc.task.bundled import BUNDLED_TASKS
from acdc.task.generators import docstring, greater_than, induction, ioi
from acdc.task.generators.corpus import YEARS
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
        self.transformer, self.lm_head = model.transformer, model.lm_head


@pytest.mark.parametrize("name", [name for name in BUNDLED_TASKS if name != "docstring"])
def test_bundled_tasks_are_well_formed(trio, name):
    task = load_task(name, trio)
    assert len(task.rows) == 128
    assert all(len(row.clean) == len(row.corrupted) and row.clean != row.corrupted for row in task.rows)
    assert load_task(name, trio).content_hash() == task.content_hash()


def test_a_model_that_knows_no_code_is_refused_docstrings(trio):
    with pytest.raises(InputError, match="docstring"):
        load_task("docstring", trio)


def test_docstring_examples_mean_what_they_say():
    for e in docstring.generate(40, seed=3):
        (answer,) = e.correct
        defined = re.search(r"\(self, (.*)\)", e.clean)[1].split(", ")
        described = re.findall(r":param (\w+):", e.clean)
        assert defined[:2] == described and defined[2] == answer
        assert set(e.incorrect) == set(defined) - {answer}
        assert not set(defined) & set(re.findall(r"\w+", e.corrupted))
        listed = re.findall(r":param (\w+):", e.corrupted)
        assert len(listed) == 2 and all(e.corrupted.count(word) == 1 for word in listed)


def test_ioi_examples_mean_what_they_say():
    for e in ioi.generate(40, seed=3):
        words = e.clean.replace(",", " ").split()
        (io,), (s,) = e.correct, e.incorrect
        assert (words.count(io), words.count(s)) == (1, 2)
        assert not {io, s} & set(e.corrupted.replace(",", " ").split())


def test_induction_examples_mean_what_they_say():
    for e in induction.generate(40, seed=3):
        for prompt, answer, other in ((e.clean, e.correct, e.incorrect), (e.corrupted, e.incorrect, e.correct)):
            words = prompt.split()
            place = words.index(words[-1])
            assert place < len(words) - 1
            assert (words[place + 1],) == answer != other


def test_greater_than_examples_mean_what_they_say():
    for e in greater_than.generate(40, seed=3):
        start = int(e.clean.split("year ")[1][2:4])
        assert min(map(int, e.correct)) == start + 1
        assert max(map(int, e.incorrect)) == start
        assert len(e.correct) + len(e.incorrect) == 100


class _SplittingTokenizer:
    """A tokenizer that keeps no word and no year whole."""

    bos_token_id = unk_token_id = eos_token_id = None

    def __call__(self, texts, add_special_tokens=True):
        encode = lambda text: [ord(c) % 50 for c in text]  # noqa: E731
        return {"input_ids": encode(texts) if isinstance(texts, str) else [encode(text) for text in texts]}


@pytest.mark.parametrize("name", BUNDLED_TASKS)
def test_bundled_tasks_refuse_a_tokenizer_that_splits(trio, name):
    with pytest.raises(InputError, match=name):
        load_task(name, replace(trio, tokenizer=_SplittingTokenizer()))


@pytest.fixture(scope="module")
def byte_level():
    """A tokenizer of GPT-2's kind: words carry their leading space, and years split into century and two digits."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(r" ?\d\d"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    texts = [e.clean for g in (ioi, greater_than, induction, docstring) for e in g.generate(2000, seed=1)]
    texts += [f"{year}" for year in YEARS for _ in range(50)]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=1200, min_frequency=2))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=None)


@pytest.mark.parametrize("name", BUNDLED_TASKS)
def test_bundled_tasks_serve_tokenizers_of_other_models(trio, byte_level, name):
    """Answers are the tokens with their leading space; prompts have no added special tokens here."""
    wide = replace(trio.anatomy, d_vocab=len(byte_level), d_vocab_out=len(byte_level), n_ctx=64)
    task = load_task(name, replace(trio, tokenizer=byte_level, anatomy=wide))
    assert len(task.rows) == 128
    for row in task.rows[:20]:
        texts = byte_level.batch_decode([[token] for token in (*row.correct, *row.incorrect)])
        if name == "greater_than":
            assert all(len(text) == 2 and text.isdigit() for text in texts)
        else:
            assert all(text.startswith(" ") and text[1:].isalpha() for text in texts)
            assert texts[0] in byte_level.decode(row.clean)


def make_rows(prompts: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[Row]:
    return [Row(str(i), clean, corrupted, (1,), (2,), 0) for i, (clean, corrupted) in enumerate(prompts)]


def test_buckets_hold_rows_of_one_length():
    rows = make_rows([((1,) * n, (2,) * n) for n in (3, 5, 3, 3, 5, 4)])
    batches = bucket(rows, 2)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert batches == [[0, 2], [3], [5], [1, 4]]


def test_split_keeps_twins_together():
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


def test_limit_takes_the_first_rows_and_counts_twins():
    rows = make_rows([((1,), (2,)), ((3,), (4,)), ((2,), (1,)), ((5,), (6,))])
    split = split_rows(rows, 0, limit=2)
    assert (split.discovery, split.verification, split.twins) == ((0, 1), (2, 3), 1)
    assert split_rows(rows, 0, limit=4).verification == ()
    for limit in (0, 5):
        with pytest.raises(InputError, match="--limit"):
            split_rows(rows, 0, limit)


def test_generated_rows_are_diverse(trio):
    """No bundled task rests on a handful of rows."""
    for name in ("ioi", "induction"):
        counts = Counter(row.clean for row in load_task(name, trio).rows)
        assert max(counts.values()) == 1
