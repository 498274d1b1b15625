"""`acdc feature-circuit`, `acdc ablate` and `acdc train-dictionary`."""

import json

import pytest

FIND = ("feature-circuit", "--task", "greater_than", "--dictionary", "trio-transcoders", "--method", "attrib")


@pytest.fixture
def found(acdc):
    outcome = acdc(*FIND, "--nodes", "12", "--limit", "120", "--out", "run")
    assert outcome.code == 0, outcome.err
    return outcome


def test_what_is_printed_and_written(acdc, found, tmp_path):
    for words in (
        "greater_than in trio: 12 of ",
        "discovery",
        "unseen",
        "10 random circuits",
        "strongest 10 of 12 nodes",
    ):
        assert words in found.out, words
    record = json.loads((tmp_path / "run/feature-circuit.json").read_text())
    assert len(record["nodes"]) == 12 and record["unseen"]["rows"] == 8
    before = (tmp_path / "run/feature-circuit.json").read_bytes()
    acdc(*FIND, "--nodes", "12", "--limit", "120", "--out", "run")
    assert (tmp_path / "run/feature-circuit.json").read_bytes() == before


def test_ablated_features(acdc, found, tmp_path):
    record = json.loads((tmp_path / "run/feature-circuit.json").read_text())
    names = ",".join(node["id"] for node in record["nodes"][:3])
    outcome = acdc("ablate", "run", "--features", names, "--out", "off.json", "--json")
    assert outcome.code == 0, outcome.err
    effects = outcome.json["effects"]
    assert [one["metric"] for one in effects] == ["prob_diff", "accuracy"]
    assert effects[0]["change"]["value"] != 0
    written = json.loads((tmp_path / "off.json").read_text())
    assert written["features"] == names.split(",") and written["set"] == [f"{name}=0" for name in names.split(",")]
    again = acdc("ablate", "off.json", "--task", "greater_than", "--json")
    assert again.json["effects"] == effects
    mean = acdc("ablate", "run", "--features", names, "--to", "mean", "--json").json["effects"]
    assert mean != effects
    for words, says in (((), "give --features"), (("--features", "m0.f9999"), "m0.f9999 is not one of the 12 nodes")):
        refused = acdc("ablate", "run", *words)
        assert refused.code == 2 and says in refused.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ablate", "run", "--features", "m0.f1", "--to", "one"), "--to 'one' is not one of zero, mean"),
        (("ablate", "nowhere", "--features", "m0.f1"), "does not exist"),
        ((*FIND, "--out", "full"), "--out full holds something else"),
        ((*FIND, "--errors", "some", "--out", "x"), "--errors 'some' is not one of keep, remove, rank"),
        ((*FIND, "--metric", "accuracy", "--out", "x"), "has no gradient"),
        (("discover", "--task", "ioi", "--level", "features"), "is a command of its own, 'acdc feature-circuit'"),
    ],
)
def test_bad_input(acdc, words, says, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other.txt").write_text("")
    outcome = acdc(*words)
    assert outcome.code == 2 and says in outcome.err and "Traceback" not in outcome.err, outcome.err


def test_training(acdc, tmp_path):
    train = (
        "train-dictionary",
        "--task",
        "induction",
        "--features",
        "16",
        "--active",
        "2",
        "--steps",
        "3",
        "--out",
        "d",
    )
    first = acdc(*train, "--layers", "1,2", "--kind", "sae", "--activation", "jumprelu")
    assert first.code == 0, first.err
    assert "resid_post1" in first.out and (tmp_path / "d/resid_post2/sae_weights.safetensors").exists()
    again = acdc(*train, "--layers", "1,2", "--kind", "sae", "--activation", "jumprelu")
    assert "(already there)" in again.out
    other = acdc(*train)
    assert other.code == 2 and "holds a run of other inputs" in other.err


def test_a_model_s_own_text(trio):
    """Drawn by a seed, from its own distribution after BOS."""
    from acdc.dictionaries.own_text import OwnText

    texts = list(OwnText(trio, 70, window=8, seed=1).prompts())
    assert len(texts) == 70 and all(text[0] == 0 and 2 <= len(text) <= 8 for text in texts)
    assert texts == list(OwnText(trio, 70, window=8, seed=1).prompts())
    assert texts != list(OwnText(trio, 70, window=8, seed=2).prompts())
