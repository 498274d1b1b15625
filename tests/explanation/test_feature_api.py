"""The Python interface to features gives what the command line gives."""

import json

import pytest

import acdc


@pytest.fixture(scope="module")
def model():
    return acdc.load_model("trio")


@pytest.fixture(scope="module")
def task(model):
    whole = acdc.load_task("greater_than", model)
    return type(whole)(whole.name, whole.rows[:24], whole.metric)


@pytest.fixture(scope="module")
def dictionary(model):
    return acdc.load_dictionary("trio-transcoders", model)


def test_feature_circuits(tmp_path, model, task, dictionary):
    found = acdc.discover_features(model, dictionary, task, method="attrib", nodes=5, limit=8, by_position=True)
    assert len(found.nodes) == 5 and found.places
    report = acdc.verify_features(model, dictionary, task, found, extent="quick", rows=4)
    assert report.rows == 4 and report.faithfulness is not None
    acdc.draw_features(found).save(tmp_path / "features.svg")
    assert found.nodes[0].id.partition("@")[0].split(".f")[1] in (tmp_path / "features.svg").read_text()
    name = found.nodes[0].id.partition("@")[0]
    zero, mean = (acdc.ablate_features(model, dictionary, task, [name], to=to)[0] for to in ("zero", "mean"))
    assert zero.rows == 24 and zero.change.value != mean.change.value
    for wrong, says in (
        ({"method": "acdc"}, "method 'acdc' is not one of attrib, ig, exact"),
        ({"nodes": 3, "threshold": 0.1}, "give only one of"),
    ):
        with pytest.raises(acdc.InputError, match=says):
            acdc.discover_features(model, dictionary, task, **wrong)
    with pytest.raises(acdc.InputError, match="discover_features in Python"):
        acdc.discover(model, task, level="features")
    with pytest.raises(acdc.InputError, match="to 'one' is not one of zero, mean"):
        acdc.ablate_features(model, dictionary, task, [name], to="one")


def test_explanations_and_steering(tmp_path, model, task, dictionary):
    found = acdc.explain(model, "m3.f444", tasks=[task], dictionary=dictionary, tokens=300)
    assert found.kind == "feature" and found.examples.tokens <= 400
    (tmp_path / "text.txt").write_text("When Mary and John went to the store, John gave a drink to\n")
    assert acdc.explain(model, "a1.h0", text=tmp_path / "text.txt").head is not None
    steered = acdc.steer(model, task, "resid_post2@-1", pairs=task, strengths=[-2, 2], other_task=task, limit=6)
    assert [dose.strength for dose in steered.doses] == [-2.0, 2.0] and steered.doses[0].other is not None
    for wrong in ({}, {"tasks": [task], "text": "text.txt"}):
        with pytest.raises(acdc.InputError, match="give text or tasks"):
            acdc.explain(model, "m3.n1", **wrong)
    with pytest.raises(acdc.InputError, match="give one direction"):
        acdc.steer(model, task, "resid_post2")


def test_training(tmp_path, model, task):
    settings = {"tasks": [task], "features": 16, "active": 2, "steps": 2, "layers": [1]}
    with pytest.raises(acdc.InputError, match="use activation jumprelu, or all layers"):
        acdc.train_dictionary(model, tmp_path / "d", **settings)
    assert not (tmp_path / "d").exists()
    trained = acdc.train_dictionary(model, tmp_path / "d", kind="sae", **settings)
    assert trained.dictionary.size == 16 and json.loads((tmp_path / "d/training.json").read_text())["status"] == "done"
    again = acdc.train_dictionary(model, tmp_path / "d", kind="sae", **settings)
    assert again.resumed
