"""Small tokenizers of the kinds that language models have, trained on the words of the bundled tasks.

Each splits text by its model's own rules, and its vocabulary holds the tasks' words whole, as a large one does.
"""

import re
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from acdc.task.generators import (
    country_capital,
    docstring,
    gendered_pronoun,
    greater_than,
    induction,
    ioi,
    subject_verb_agreement,
)
from acdc.task.generators.corpus import CENTURIES, YEARS

GENERATORS = (ioi, greater_than, docstring, induction, subject_verb_agreement, gendered_pronoun, country_capital)
# What Llama 3 and Qwen split at, around how many digits stay together.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def texts() -> Iterator[str]:
    """Prompts with all words of the tasks, without any number; words of a list also as a prompt has them inside."""
    for generator in GENERATORS:
        rows = 128 if generator in (country_capital, gendered_pronoun) else 1000
        for e in generator.generate(rows, seed=1):
            text = "".join(character for character in e.clean + e.corrupted if not character.isdigit())
            yield " ".join([text, "Words:", *e.correct, *e.incorrect] if e.separator else [text])


def numbers(counts: dict[str, int]) -> Iterator[str]:
    """Numbers so often each, which decides what is merged first; letters keep them apart."""
    for text, count in counts.items():
        yield f"x{text}x" * count


def gpt2() -> PreTrainedTokenizerFast:
    """Years split as " 17" "43"; some are whole, as in GPT-2."""
    counts = {f" {century}": 2000 for century in CENTURIES}
    counts |= dict.fromkeys(YEARS, 20) | {f" {century}{year}": 10 for century in CENTURIES for year in ("00", "76")}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, counts, eos_token="<|endoftext|>", unk_token="<|endoftext|>")


def llama3() -> PreTrainedTokenizerFast:
    """Years split as "174" "3", after a space of its own; BOS."""
    counts = {f"{number}": 10 for number in range(1000)} | {f"{number:02d}": 10 for number in range(10)}
    return _trained(_split_at(r"\p{N}{1,3}"), counts, bos="<|begin_of_text|>")


def qwen() -> PreTrainedTokenizerFast:
    """Digits by themselves; no BOS."""
    return _trained(_split_at(r"\p{N}"), {str(digit): 10 for digit in range(10)}, eos_token="<|im_end|>")


def whole_numbers() -> PreTrainedTokenizerFast:
    """Years are whole."""
    counts = {f" {century}{year}": 10 for century in CENTURIES for year in YEARS}
    return _trained(_split_at(r" ?\p{N}+"), counts)


def gemma() -> PreTrainedTokenizerFast:
    """Pieces as SentencePiece makes them: spaces are part of words, digits stand by themselves; BOS."""
    return _pieces(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), "<bos>")


def llama2() -> PreTrainedTokenizerFast:
    """The same with a space before the first word."""
    before = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _pieces(before, None, "<s>")


def of_words(*texts: str) -> PreTrainedTokenizerFast:
    """Every word of some texts, every sign, and every two digits are one token; BOS."""
    pattern = r"<bos>|\d\d|\w+|[^\w\s]"
    words = dict.fromkeys(["<bos>", "<unk>", *(f"{number:02d}" for number in range(100))])
    words |= dict.fromkeys(word for text in texts for word in re.findall(pattern, text))
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>")


def _split_at(digits: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(SPLIT.format(digits=digits)), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pieces(normalizer: normalizers.Normalizer, split: pre_tokenizers.PreTokenizer | None, bos: str):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizer
    # SentencePiece trains on letters, digits and signs apart, so that no piece joins them when it encodes.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?\p{L}+|\p{N}|[^\p{L}\p{N}]"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made = _trained(tokenizer, {str(digit): 10 for digit in range(10)}, bos=bos, unk_token="<unk>")
    made.backend_tokenizer.pre_tokenizer = split
    return made


def _trained(tokenizer: Tokenizer, counts: dict[str, int], bos: str | None = None, **special: str):
    names = [*([bos] if bos else []), *dict.fromkeys(special.values())]
    names += [f"<0x{byte:02X}>" for byte in range(256)] if special.get("unk_token") == "<unk>" else []
    byte_level = isinstance(tokenizer.decoder, decoders.ByteLevel)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, min_frequency=1, special_tokens=names, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*texts(), *numbers(counts)], trainer)
    if bos:
        single = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
        tokenizer.post_processor = single
        special |= {"bos_token": bos}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


KINDS = {kind.__name__: kind for kind in (gpt2, llama3, qwen, gemma, llama2, whole_numbers)}
