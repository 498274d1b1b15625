"""Spans of rows: what a file may say, what becomes of it, and what is refused with its place."""

import json
from dataclasses import replace

import pytest
from tokenizer_kinds import KINDS

from acdc.errors import InputError
from acdc.task.bundled import BUNDLED_TASKS
from acdc.task.generators.corpus import NAMES
from acdc.task.generators.country_capital import CAPITALS
from acdc.task.load import load_task
from acdc.task.prompt_tokenizer import PromptTokenizer
from acdc.task.raw_rows import PlacedRow, TextSpan
from acdc.task.span_places import find, tokens_of
from acdc.task.spans import Spans
from acdc.task.tokenize import tokenize_rows

CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPTED = "When Anna and Paul went to the store, Mark gave a drink to"
WORDS = ["<bos>", *CLEAN.replace(",", " ,").split()]
S2 = {"text": "John", "occurrence": 2}


def load(tmp_path, trio, *spans, header: str = "", **more):
    rows = [
        {"clean": CLEAN, "corrupted": CORRUPTED, "correct": [" Mary"]} | ({} if one is None else {"spans": one}) | more
        for one in spans
    ]
    path = tmp_path / "t.jsonl"
    path.write_text(header + "".join(f"{json.dumps(row)}\n" for row in rows))
    return load_task(path, trio)


def words(spans: Spans) -> dict[str, list[str]]:
    return {name: [WORDS[place] for place in places] for name, places in spans}


def test_spans_by_position_and_by_text_are_the_same(tmp_path, trio):
    """Positions count the BOS that the tokenizer adds, as `answer_position` does."""
    said = {"IO": [2, 3], "phrase": [5, 8], "S2": [10, 11], "end": -1}
    by_text = {"IO": "Mary", "phrase": " went to the ", "S2": S2, "end": {"text": "to", "occurrence": 2}}
    rows = load(tmp_path, trio, said, by_text).rows
    assert rows[0].spans == rows[1].spans
    assert words(rows[0].spans) == {"IO": ["Mary"], "phrase": ["went", "to", "the"], "S2": ["John"], "end": ["to"]}
    assert rows[0].answer_position == rows[0].spans.bounds[-1][0]
    assert " ".join(WORDS[at] for at in rows[0].spans.rest(15)) == "<bos> When and John store , gave a drink"
    assert rows[0].spans.numbers(15) == [4, 4, 0, 4, 4, 1, 1, 1, 4, 4, 2, 4, 4, 4, 3]


def test_without_a_bos_positions_are_one_less(tmp_path, trio):
    task = load(tmp_path, trio, {"IO": "Mary"}, header='{"prepend_bos": false}\n')
    assert task.rows[0].spans.bounds == ((1, 2),)


def test_spans_have_one_order_and_a_hash_of_their_own(tmp_path, trio):
    """Rows without spans and with them are the same data; spans differ by what they say, not by how."""
    plain, spans = load(tmp_path, trio, None, None), {"IO": "Mary", "S2": S2}
    task = load(tmp_path, trio, spans, dict(reversed(spans.items())))
    assert task.span_names == ("IO", "S2") == task.rows[1].spans.names
    assert task.content_hash() == plain.content_hash() and not plain.span_names
    assert task.spans_hash() == load(tmp_path, trio, spans, {"IO": [2, 3], "S2": [10, 11]}).spans_hash()
    assert task.spans_hash() != load(tmp_path, trio, spans, {"IO": [2, 3], "S2": [10, 12]}).spans_hash()
    assert replace(task, rows=task.select([1])).span_names == task.span_names
    with pytest.raises(InputError, match="has no spans: give each of its rows"):
        plain.spans_hash()


def test_a_mask_moves_spans(tmp_path, trio):
    ids = {"clean": [0, 0, 5, 6, 7], "corrupted": [0, 0, 5, 8, 7], "correct": [9], "mask": [0, 0, 1, 1, 1]}
    assert load(tmp_path, trio, {"A": [3, 4], "end": -1}, **ids).rows[0].spans.bounds == ((1, 2), (2, 3))
    with pytest.raises(InputError, match=r"line 1: span 'A' is hidden by the mask"):
        load(tmp_path, trio, {"A": [1, 3]}, **ids)


REFUSED = {
    "occurs 2 times: say which": {"S": "John"},
    "'John' occurs 2 times, not 3": {"S": {"text": "John", "occurrence": 3}},
    "'Laura' does not occur in the prompt": {"S": "Laura"},
    "'Mar' does not fall on the borders of tokens: it is only a part of 'Mary'": {"S": "Mar"},
    "'and Jo' does not fall on the borders": {"S": "and Jo"},
    "' ' has no token of its own": {"S": {"text": " ", "occurrence": 1}},
    r"span 'S' is \[14, 16\], and the prompt has 15 tokens": {"S": [14, 16]},
    "span 'S' is 15, and the prompt has 15 tokens": {"S": 15},
    "span 'S' is -16, and the prompt has 15 tokens": {"S": -16},
    "span 'S' has no tokens": {"S": [3, 3]},
    "spans 'A' and 'B' overlap at token 3": {"B": [3, 5], "A": [2, 4]},
    "span 'rest' cannot be called so": {"rest": [1, 2]},
    "span '3' cannot be called so": {"3": [1, 2]},
    "span 'a->b' cannot be called so": {"a->b": [1, 2]},
    "'spans': expected names with": {"S": [1, 2, 3]},
    "'spans': expected names with .*got {}": {},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_span_is_refused_with_its_row(tmp_path, trio, message):
    with pytest.raises(InputError, match=rf"t\.jsonl, line 2: .*{message}"):
        load(tmp_path, trio, {"S": [1, 2], "A": [2, 3], "B": [3, 4]}, REFUSED[message])


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"A": 1}, {"B": 1}, "line 2: has the spans B, and those of the first row are A; all rows need the same"),
        ({"A": 1}, None, "line 2: has no spans, and those of the first row are A"),
        (None, {"A": 1}, "line 2: has the spans A, and the first row has none"),
    ],
)
def test_all_rows_have_the_same_spans(tmp_path, trio, one, other, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, trio, one, other)


def test_token_ids_have_no_text(tmp_path, trio):
    with pytest.raises(InputError, match=r"line 1: span 'A' is text, and the prompt is token ids"):
        load(tmp_path, trio, {"A": "Mary"}, clean=[5, 6, 7], corrupted=[5, 8, 7], correct=[9])


def test_spaces_belong_to_whatever_token():
    """Tokens of GPT-2's kind begin with a space, others have tokens of nothing else; neither is a border."""
    text = "gave a drink, a ball"
    for characters in ([(0, 4), (4, 6), (6, 12)], [(0, 4), (5, 6), (6, 12)], [(0, 4), (4, 5), (5, 6), (6, 12)]):
        first = 2 if len(characters) == 4 else 1
        assert tokens_of((4, 7), characters, text) == tokens_of((5, 6), characters, text) == (first, first + 1)
        assert tokens_of((5, 12), characters, text) == (first, first + 2)


def test_words_are_looked_for_before_parts_of_words():
    assert find("gave a drink, a ball", TextSpan(text="a", occurrence=2)) == (14, 15)
    assert find("gave a drink, a ball", TextSpan(text=", a")) == (12, 15)
    assert find("the year 1743", TextSpan(text="43")) == (11, 13)
    assert find("東京は首都", TextSpan(text="首都")) == (3, 5)


def test_a_character_of_several_tokens_is_all_of_them():
    assert tokens_of((1, 2), [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)], "a☃b") == (1, 4)


SAID = {  # of a bundled task's spans: what stands there, by a row's prompt and answers
    "ioi": lambda r: {"IO": r.correct[0], "S1": r.incorrect[0], "S2": r.incorrect[0], "end": " to"},
    "greater_than": lambda r: {"start": r.clean.split("year")[1].split()[0], "noun": " " + r.clean.split()[1]},
    "docstring": lambda r: {"C_def": r.correct[0], "A_doc": r.incorrect[0], "B_doc": r.incorrect[1], "end": "param"},
    "induction": lambda r: {"first+1": r.correct[0], "other+1": r.incorrect[0], "second": " " + r.clean.split()[-1]},
    "subject_verb_agreement": lambda r: {"end": " " + r.clean.split()[-1]},
    "gendered_pronoun": lambda r: {"name": next(word for word in r.clean.split() if word in NAMES)},
    "country_capital": lambda r: {"country": {capital: c for c, capital in CAPITALS}[r.correct[0].strip()]},
}


@pytest.fixture(scope="module", params=["gpt2", "llama2"])
def tokenizer(request):
    return PromptTokenizer(KINDS[request.param]())


@pytest.mark.parametrize("name", BUNDLED_TASKS)
def test_bundled_tasks_name_their_spans(tokenizer, trio, name):
    raw = BUNDLED_TASKS[name].raw_rows(tokenizer)
    anatomy = replace(trio.anatomy, d_vocab=10**6, d_vocab_out=10**6, n_ctx=10**3)
    rows = tokenize_rows([PlacedRow(row.id, row) for row in raw], tokenizer, anatomy)
    decode = tokenizer.tokenizer.decode
    assert rows
    for given, row in zip(raw, rows, strict=True):
        found = {span: decode(row.clean[places.start : places.stop]).strip() for span, places in row.spans}
        wanted = {span: text.strip() for span, text in SAID[name](given).items()}
        assert {span: found[span] for span in wanted} == wanted
        assert row.spans.bounds[-1] == (len(row.clean) - 1, len(row.clean))
        differing = {place for place, (a, b) in enumerate(zip(row.clean, row.corrupted, strict=True)) if a != b}
        assert not differing & set(row.spans.rest(len(row.clean))), "what differs is in a span"


def test_a_tokenizer_that_names_no_characters_has_the_task_without_spans(trio, monkeypatch):
    monkeypatch.setattr(PromptTokenizer, "tells_characters", False)
    task = load_task("ioi", trio)
    assert not task.span_names
    with pytest.raises(InputError, match="does not say which characters"):
        PromptTokenizer(trio.tokenizer).characters("a", [1])
