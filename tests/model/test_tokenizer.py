"""The tokenizer of a folder is the one in its file, whatever class its configuration names."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
from tokenizer_kinds import KINDS
from tokenizers import Tokenizer, models, pre_tokenizers

from acdc.errors import AcdcWarning
from acdc.model.load import load_model
from acdc.model.sources import BUNDLED
from acdc.model.tokenizer import PROBES

PROMPT = "one two three four five six seven"


def words(folder: Path, name: str | None) -> Path:
    """The bundled model with a word-level tokenizer under a class of transformers."""
    shutil.copytree(BUNDLED["trio"], folder)
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<bos>", *PROMPT.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<bos>", "unk_token": "<unk>"} | ({"tokenizer_class": name} if name else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", ["Qwen2Tokenizer", "GPT2Tokenizer", "LlamaTokenizer", "GemmaTokenizer", None])
def test_tokens_are_those_of_the_file(tmp_path, name):
    folder = words(tmp_path / "m", name)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", AcdcWarning)
        tokenizer = load_model(str(folder)).tokenizer
    assert tokenizer(PROMPT, add_special_tokens=False)["input_ids"] == list(range(2, 9))
    assert (tokenizer.bos_token_id, tokenizer.unk_token_id) == (1, 0)
    differs = [str(w.message) for w in said if "the file's are used" in str(w.message)]
    assert differs or name not in ("Qwen2Tokenizer", None)  # which build byte pairs of whatever the file holds


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_that_was_saved_is_read_without_a_warning(tmp_path, kind):
    shutil.copytree(BUNDLED["trio"], tmp_path / "m", ignore=shutil.ignore_patterns("tokenizer*"))
    made = KINDS[kind]()
    made.save_pretrained(tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error", AcdcWarning)
        tokenizer = load_model(str(tmp_path / "m")).tokenizer
    for text in PROBES:
        assert tokenizer(text)["input_ids"] == made(text)["input_ids"]
