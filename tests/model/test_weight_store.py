"""Models around weights that other processes hold too: the same as from their files, and nobody writes to them."""

import numpy as np
import pytest
import torch
from conftest import thorough_but
from families import HUGGING_FACE, MORE, UNLIKE, hugging_face

from acdc.model.load import load_model
from acdc.model.weight_store import weights_of

TOKENS = torch.tensor([[(7 * row + 3 * place) % 40 for place in range(9)] for row in range(3)])


class Mapped:
    """A store of memory that cannot be written to: a process that tries dies of it."""

    def __init__(self, folder):
        self._folder, self._there, self.reads, self.room = folder, {}, 0, 2**30

    def has_room(self, size):
        return size <= self.room

    def of(self, key, read):
        if key not in self._there:
            self.reads += 1
            self._there[key] = {name: self._mapped(tensor) for name, tensor in read().items()}
        return self._there[key]

    def _mapped(self, tensor):
        path = self._folder / f"{len(list(self._folder.iterdir()))}.bin"
        path.write_bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        content = torch.from_numpy(np.memmap(path, np.uint8, "r"))
        return content.view(tensor.dtype).reshape(tensor.shape)

    @property
    def addresses(self):
        return {tensor.data_ptr() for weights in self._there.values() for tensor in weights.values()}


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return Mapped(tmp_path / "store")


def logits(model):
    with torch.no_grad():
        return model.bridge(TOKENS), model.executor().run(TOKENS, torch.full((3,), 8)).logits


def check(path, store, dtype="float32"):
    """Of the first process, which reads the files, and of one that comes later."""
    plain = load_model(str(path), dtype=dtype)
    for _ in range(2):
        held = load_model(str(path), dtype=dtype, store=store)
        assert (held.content_hash, held.anatomy, held.components.kind) == (
            plain.content_hash,
            plain.anatomy,
            plain.components.kind,
        )
        ours, theirs = held.bridge.original_model.state_dict(), plain.bridge.original_model.state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert store.addresses <= {tensor.data_ptr() for tensor in ours.values()}
        assert all(map(torch.equal, logits(held), logits(plain)))
    assert store.reads == 1


FAMILIES = [name for name in (*HUGGING_FACE, *MORE) if name != "mixtral"]


@pytest.mark.parametrize("family", thorough_but(UNLIKE, ["mixtral", *FAMILIES]))
def test_the_same_as_from_its_files(tmp_path, store, family):
    hugging_face(family).float().save_pretrained(tmp_path / "m")
    check(tmp_path / "m", store)


@pytest.mark.parametrize(("name", "kind"), [("llama-3", "F32"), ("llama-tied", "Q8_0"), ("gpt2", "F16")])
def test_of_a_gguf_file(tmp_path, store, name, kind):
    """Its rotary factors too, which are no weights."""
    pytest.importorskip("gguf", reason="the library gguf is not installed: pip install 'acdc[gguf]'")
    from test_gguf import save

    file, _ = save(name, kind, tmp_path)
    check(file, store)


def test_each_precision_has_weights_of_its_own(tmp_path, store):
    hugging_face("llama").float().save_pretrained(tmp_path / "m")
    kinds = ("float32", "bfloat16", "float32")
    found = [load_model(str(tmp_path / "m"), dtype=kind, store=store) for kind in kinds]
    assert [model.bridge.original_model.dtype for model in found] == [model.dtype for model in found]
    assert store.reads == 2


def test_weights_that_have_two_names_are_held_once(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    for tied in (False, True):
        model = LlamaForCausalLM(LlamaConfig(vocab_size=40, tie_word_embeddings=tied, **sizes))
        assert ("lm_head.weight" in weights_of(model)) is not tied


def test_what_is_too_large_is_read_by_each(tmp_path, store):
    """By its parameters in the precision that is asked for."""
    model = hugging_face("llama").float()
    model.save_pretrained(tmp_path / "m")
    store.room = 4 * sum(parameter.numel() for parameter in model.parameters()) - 1
    load_model(str(tmp_path / "m"), store=store)
    assert store.reads == 0
    load_model(str(tmp_path / "m"), dtype="bfloat16", store=store)
    assert store.reads == 1
