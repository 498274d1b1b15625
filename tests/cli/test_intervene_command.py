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


def test_a_run_is_kept_found_again_and_shown(acdc, tmp_path):
    words = ("intervene", *PROMPT, "--set", "a3.h2=0", "--freeze-attention", "--out", "run")
    first = acdc(*words)
    assert first.code == 0 and first.out.endswith("run  run\n"), first.err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", "intervention.json"}
    kept, record = ((tmp_path / "run" / name).read_text() for name in ("intervention.json", "run.json"))
    again = acdc(*words)
    assert "(already there)" in again.out and (tmp_path / "run/intervention.json").read_text() == kept
    assert acdc("show", "run").out == again.out
    assert json.loads(acdc("show", "run", "--json").out)["interventions"] == ["set a3.h2=0"]
    command = json.loads(record)["command"]
    assert "--set a3.h2=0" in command and command.endswith("--freeze-attention")
    other = acdc("intervene", *PROMPT, "--set", "a3.h2=0", "--out", "run")
    assert other.code == 2 and "holds a run of other inputs (freeze_attention: True there" in other.err
    assert acdc("verify", "run").code == 2 and acdc("export", "run", "--format", "svg", "--out", "x").code == 2
    (tmp_path / "run/intervention.json").write_text(kept.replace("a3.h2", "a3.h1"))
    assert acdc("show", "run").code == 2


def test_attention_is_held_on_prompts_alone(acdc):
    said = acdc("intervene", "--task", "ioi", "--set", "a1.h0=0", "--freeze-attention")
    assert said.code == 2 and "--freeze-attention holds what heads attend to on one prompt" in said.err
    free, held = (
        acdc("intervene", *PROMPT, "--set", "a1.h2=0", "--json", *more) for more in ([], ["--freeze-attention"])
    )
    free, held = (json.loads(one.out)["prompt"] for one in (free, held))
    assert free["tokens"][0]["before"] == held["tokens"][0]["before"] and free["kl"] != held["kl"]
