"""`acdc intervene`: what it prints, and what it refuses."""

import json

import pytest

PROMPT = ("--prompt", "When Mary and John went to the store, John gave a drink to")


def test_tables_and_texts(acdc):
    outcome = acdc("intervene", *PROMPT, "--set", "a3.h2=0", "--scale", "m3.n5@-1=2", "--generate", "2", "--top", "2")
    assert outcome.code == 0, outcome.err
    for words in ("trio: set a3.h2=0, scale m3.n5@-1=2", "next token", "'Mary'", "KL divergence", "without\nMary"):
        assert words in outcome.out, words


def test_json_of_a_task(acdc):
    outcome = acdc("intervene", "--task", "ioi", "--limit", "8", "--set", "a1.h0@end=0", "--json")
    record = json.loads(outcome.out)
    assert record["prompt"] is None and record["generated"] is None and record["interventions"] == ["set a1.h0@end=0"]
    task = record["task"]
    assert task["rows"] == 8 and task["change"]["low"] <= task["change"]["value"] <= task["change"]["high"] < 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*PROMPT,), "nothing to do"),
        (("--set", "a0.h0=0"), "give --prompt, --task or both"),
        ((*PROMPT, "--set", "a9.h0=0"), "no layer 9"),
        ((*PROMPT, "--set", "a0.h0@99=0"), "position 99 is not in the prompt"),
        ((*PROMPT, "--add", "m0=none.npy"), "none.npy"),
        ((*PROMPT, "--set", "a0.h0=0", "--top", "0"), "--top 0"),
        (("--task", "ioi", "--set", "a0.h0@S9=0"), "no span 'S9'"),
        (("--task", "ioi", "--set", "a0.h0=0", "--generate", "3"), "give --prompt"),
        ((*PROMPT, "--set", "a0.h0=0", "--generate", "3", "--temperature", "-1"), "--temperature -1"),
    ],
)
def test_refusals(acdc, words, said):
    outcome = acdc("intervene", *words)
    assert outcome.code == 2 and said in outcome.err and len(outcome.err.strip().splitlines()) == 1
