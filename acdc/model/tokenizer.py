"""A model's tokenizer: the one in its folder, also where transformers would build another one."""

import warnings
from typing import TYPE_CHECKING

from acdc.errors import AcdcWarning, InputError, first_line
from acdc.model.gguf_weights import load_gguf_tokenizer
from acdc.model.sources import Source

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

FILE = "tokenizer.json"
_OTHER_FILES = ("tokenizer.model", "vocab.json")
# Whatever kinds of tokenizers treat differently: letters, case, digits, spaces, signs, lines, other scripts.
PROBES = (
    "When John and Mary went to the store, John gave a drink to",
    "  The war lasted from the year 1743 to 17",
    "def f(x, *args):\n    return 3.14 * x  # it's\tdon't \n\n",
    " leading space",
    "no space",
    "Ünïcödé ﬁ ½ — «quoted» 語 текст 👍🏽 \u200d",
)
SAMPLED = 200  # tokens of its own vocabulary that are tried too


def load_tokenizer(source: Source) -> "PreTrainedTokenizerBase | None":
    """A model's tokenizer; None where it has none. Raises InputError for a damaged one.

    transformers builds some kinds by its own rules and not by those of the folder's tokenizer.json. Where the two do
    not give the same tokens, the file's is used, with a warning.
    """
    from transformers import AutoTokenizer

    try:
        if source.gguf:
            return load_gguf_tokenizer(source.gguf)
        if not any((source.folder / name).is_file() for name in (FILE, *_OTHER_FILES)):
            return None
        built = AutoTokenizer.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)
        return _as_in_its_file(built, source)
    except Exception as error:  # as for the model: any damage to its files is one kind of bad input
        raise InputError(f"the tokenizer in {source.place} cannot be loaded: {first_line(error)}") from None


def _as_in_its_file(built: "PreTrainedTokenizerBase", source: Source) -> "PreTrainedTokenizerBase":
    """The tokenizer that was built, or that of tokenizer.json where they differ."""
    from tokenizers import Tokenizer

    path = source.folder / FILE
    if not path.is_file():
        return built
    own = Tokenizer.from_file(str(path))
    own.no_padding()
    own.no_truncation()
    differing = next((text for text in _probes(own) if _built_ids(built, text) != _own_ids(own, text)), None)
    if differing is None:
        return built
    warnings.warn(
        f"transformers reads the tokenizer in {source.folder} otherwise than its {FILE} says: {differing!r} has "
        f"{len(_own_ids(own, differing))} tokens by the file and {len(_built_ids(built, differing))} by transformers; "
        "the file's are used",
        AcdcWarning,
        stacklevel=2,
    )
    return _wrapped(own, built)


def _probes(own: "Tokenizer") -> list[str]:
    """Texts to compare: the same for all, and some in the tokenizer's own words."""
    size = own.get_vocab_size()
    words = [own.decode([number], skip_special_tokens=False) for number in range(0, size, max(1, size // SAMPLED))]
    return [*PROBES, " ".join(words), "".join(words)]


def _built_ids(built: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(built(text, add_special_tokens=False)["input_ids"])


def _own_ids(own: "Tokenizer", text: str) -> list[int]:
    return list(own.encode(text, add_special_tokens=False).ids)


def _wrapped(own: "Tokenizer", built: "PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """The file's tokenizer with the special tokens and the chat template of the folder."""
    from transformers import PreTrainedTokenizerFast

    special = {
        name: str(token)
        for name, token in built.special_tokens_map.items()
        if isinstance(token, str) and own.token_to_id(token) is not None
    }
    return PreTrainedTokenizerFast(tokenizer_object=own, chat_template=built.chat_template, **special)
