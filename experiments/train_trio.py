"""Train the bundled model `trio`: a 4-layer, 4-head GPT-2 with a word-level vocabulary on three behaviours.

    python experiments/train_trio.py --out acdc/model/bundled/trio

`--architecture gemma3` trains a model with Gemma 3's layers instead: norms after each component as well as before,
gated MLPs, rotary positions, and keys and values shared by two heads.

One fifth of the name pairs (ordered), of the (century, year) pairs and of the word pairs is never seen in training;
the accuracy printed at the end is measured on those alone. About 15 minutes on two cores.
"""

import argparse
import itertools
import json
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from acdc.task.generators import greater_than, induction, ioi
from acdc.task.generators.corpus import CENTURIES, EVENTS, NAMES, OBJECTS, PLACES, THINGS, YEARS
from acdc.task.generators.example import Example

BEHAVIOURS = ("ioi", "greater_than", "induction")
CONTEXT = 32
WORD = r"\d\d|\d|[^\d\s,.]+|[,.]"


@dataclass(frozen=True)
class Combinations:
    """The name, year and word pairs of one side of the split between training and held-out data."""

    names: list[tuple[str, str]]
    years: list[tuple[str, int]]
    words: list[tuple[str, str]]

    def draw(self, behaviour: str, rng: random.Random) -> Example:
        """One example of a behaviour built from these combinations only."""
        if behaviour == "ioi":
            return ioi.example(rng.randrange(len(ioi.TEMPLATES)), *rng.choice(self.names), NAMES, rng)
        if behaviour == "greater_than":
            return greater_than.example(rng.choice(EVENTS), *rng.choice(self.years))
        length = rng.randint(min(induction.LENGTHS), max(induction.LENGTHS))
        return induction.example(*rng.choice(self.words), THINGS, length, rng)


def split_combinations(seed: int = 0) -> tuple[Combinations, Combinations]:
    """(training, held out): four fifths and one fifth of all combinations."""
    rng = random.Random(seed)

    def fifth(pairs):
        pairs = list(pairs)
        rng.shuffle(pairs)
        cut = len(pairs) // 5
        return pairs[cut:], pairs[:cut]

    names = fifth(itertools.permutations(NAMES, 2))
    years = fifth(itertools.product(CENTURIES, range(greater_than.FIRST, greater_than.LAST + 1)))
    words = fifth(itertools.permutations(THINGS, 2))
    return tuple(Combinations(n, y, w) for n, y, w in zip(names, years, words, strict=True))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, two digits or punctuation mark; a beginning-of-sequence token is added by default."""
    templates = " ".join([*ioi.TEMPLATES, greater_than.TEMPLATE])
    words = re.findall(WORD, re.sub(r"{\w+}", " ", templates))
    vocabulary = ["<bos>", "<unk>"]
    for word in itertools.chain(words, NAMES, PLACES, OBJECTS, EVENTS, YEARS, THINGS):
        if word not in vocabulary:
            vocabulary.append(word)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(WORD), "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>")


@dataclass(frozen=True)
class Batch:
    """Right-padded prompts [rows, positions] and, for each of n supervised places, its row, its position and the
    distribution of the next token [n, vocabulary]. Attention is causal, so padding is never seen from there."""

    tokens: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    target: torch.Tensor


def answer_batch(tokenizer, examples: list[Example]) -> Batch:
    """Clean prompts, supervised at their last token with all correct answers equally likely."""
    prompts = tokenizer([e.clean for e in examples])["input_ids"]
    target = torch.zeros(len(examples), len(tokenizer))
    for row, e in enumerate(examples):
        target[row, tokenizer.convert_tokens_to_ids(list(e.correct))] = 1 / len(e.correct)
    width = max(map(len, prompts))
    tokens = torch.tensor([p + [0] * (width - len(p)) for p in prompts])
    return Batch(tokens, torch.arange(len(prompts)), torch.tensor([len(p) - 1 for p in prompts]), target)


def repetition_batch(tokenizer, seen: Combinations, rows: int, rng: random.Random) -> Batch:
    """Sequences of words said twice, supervised all through the second time: what makes induction heads form early.

    Neighbours are word pairs of the training side only.
    """
    followers = {word: [] for word in THINGS}
    for first, second in seen.words:
        followers[first].append(second)
    length = rng.randint(6, (CONTEXT - 2) // 2)
    sequences = []
    while len(sequences) < rows:
        words = [rng.choice(THINGS)]
        while len(words) < length and (left := [w for w in followers[words[-1]] if w not in words]):
            words.append(rng.choice(left))
        if len(words) == length:
            sequences.append(words)
    once = torch.tensor([tokenizer.convert_tokens_to_ids(words) for words in sequences])
    tokens = torch.cat([torch.full((rows, 1), tokenizer.bos_token_id), once, once], dim=1)
    positions = torch.arange(length + 1, 2 * length).repeat(rows)
    at = torch.arange(rows).repeat_interleave(length - 1)
    target = torch.nn.functional.one_hot(tokens[at, positions + 1], len(tokenizer)).float()
    return Batch(tokens, at, positions, target)


def next_token_logits(model, batch: Batch) -> torch.Tensor:
    hidden = model.base_model(batch.tokens).last_hidden_state
    return model.lm_head(hidden[batch.rows, batch.positions])


def cross_entropy(model, batch: Batch) -> torch.Tensor:
    return -(batch.target * next_token_logits(model, batch).log_softmax(-1)).sum(-1).mean()


@torch.no_grad()
def accuracy(model, tokenizer, combinations: Combinations, behaviour: str, rows: int, seed: int) -> float:
    """Share of rows whose most likely next token is correct."""
    rng = random.Random(seed)
    batch = answer_batch(tokenizer, [combinations.draw(behaviour, rng) for _ in range(rows)])
    best = next_token_logits(model, batch).argmax(-1)
    return (batch.target[torch.arange(rows), best] > 0).float().mean().item()


def build_gpt2(words: int) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=words, n_positions=CONTEXT, n_embd=64, n_layer=4, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def build_gemma3(words: int) -> PreTrainedModel:
    config = Gemma3TextConfig(
        vocab_size=words, max_position_embeddings=CONTEXT, hidden_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=16, intermediate_size=256,
        layer_types=["full_attention"] * 4, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    return Gemma3ForCausalLM(config)


ARCHITECTURES = {"gpt2": build_gpt2, "gemma3": build_gemma3}


def train(architecture: str, steps: int, rows: int, seed: int):
    """AdamW with warm-up and cosine decay on the cross-entropy of the answer distribution."""
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    tokenizer = build_tokenizer()
    model = ARCHITECTURES[architecture](len(tokenizer))
    seen, held_out = split_combinations()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.05)
    rng, started = random.Random(seed), time.perf_counter()
    for step in range(1, steps + 1):
        answers = answer_batch(tokenizer, [seen.draw(BEHAVIOURS[i % 3], rng) for i in range(rows)])
        loss = cross_entropy(model, answers) + cross_entropy(model, repetition_batch(tokenizer, seen, rows // 4, rng))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            scores = [accuracy(model, tokenizer, held_out, b, 500, 1) for b in BEHAVIOURS]
            seconds = time.perf_counter() - started
            print(step, f"loss {loss.item():.3f}", *(f"{s:.3f}" for s in scores), f"{seconds:.0f} s", flush=True)
    return model.eval(), tokenizer, held_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="gpt2")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model, tokenizer, held_out = train(options.architecture, options.steps, options.rows, options.seed)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    report = {b: accuracy(model, tokenizer, held_out, b, 5000, 2) for b in BEHAVIOURS}
    print(json.dumps({"held_out_accuracy": report}))


if __name__ == "__main__":
    main()
