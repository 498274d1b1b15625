"""Training: the model's own values are learned, the same for a seed wherever a run goes on from."""

import numpy as np
import pytest
import torch
from families import boot
from safetensors.torch import load_file

from acdc.dictionaries.corpus import open_corpus
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.quality import measure_quality
from acdc.dictionaries.replacement import measure_task
from acdc.dictionaries.run import sites_of
from acdc.dictionaries.training import train as training
from acdc.dictionaries.training.coder import Coder
from acdc.dictionaries.training.settings import TrainedActivation, TrainedKind, TrainSettings
from acdc.dictionaries.training.stream import Stream, held_out
from acdc.dictionaries.training.train import train_dictionary
from acdc.errors import InputError
from acdc.task.metrics import METRICS


class Few:
    """Prompts over the vocabulary of the families."""

    name, digest = "few", "few"

    def __init__(self, count=60, tokens=12):
        drawn = np.random.default_rng(0).integers(0, 40, (count, tokens))
        self._prompts = [tuple(map(int, row)) for row in drawn]

    def prompts(self):
        yield from self._prompts


SMALL = TrainSettings(features=64, active=8, steps=60, batch=128)


@pytest.fixture(scope="module")
def gpt2():
    return boot("gpt2", 2, 0)


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(features=64, active=8, steps=60, batch=128),
        TrainSettings(features=64, active=8, steps=60, batch=128, skip=True),
        TrainSettings(TrainedKind.sae, TrainedActivation.jumprelu, (1,), 64, 8, steps=60, batch=128),
        TrainSettings(TrainedKind.sae, TrainedActivation.topk, (0, 1), 64, 8, Site.mlp_added, steps=60, batch=128),
    ],
    ids=["transcoder", "skip", "sae-jumprelu", "sae-topk"],
)
def test_what_is_written_is_what_was_trained(settings, gpt2, tmp_path):
    """The scales that training works in are made part of the weights: features as they were trained, on the model's
    own values, give what the written ones do; and the more steps, the less is left unexplained."""
    trained = train_dictionary(gpt2, Few(), settings, tmp_path / "d")
    coders, hooks = [], settings.hooks(gpt2)
    assert [(one.reads, one.writes[0]) for one in trained.dictionary.sets] == hooks
    prompts = held_out(Few(), 1000)
    values = sites_of(gpt2, torch.tensor(prompts), trained.dictionary.hooks)
    stream = Stream(gpt2, Few(), [hook for pair in hooks for hook in pair], settings.seed)
    chunk = next(stream.chunks())
    for one, pair in zip(trained.dictionary.sets, hooks, strict=True):
        coder = Coder(settings, pair, chunk.values[pair[0]], chunk.values[pair[1]])
        first = coder.features()
        x, y = values[pair[0]], values[pair[1]]
        before, after = ((f.decode(f.encode(x), x) - y).square().sum() for f in (first, one))
        assert after < 0.8 * before
        coders.append(coder)
    coder = coders[0]
    x, y = (values[hook][0, 1:] for hook in hooks[0])
    features, p = coder.features(), coder.parameters
    inside = x * coder.scale[0] - coder._centre(p["encoder"])
    z = inside @ p["encoder"].T + p["bias"]
    if settings.activation is TrainedActivation.jumprelu:
        activations = z * (z > p["log_threshold"].exp())
    else:
        keep = z >= z.topk(settings.active, dim=1).values[:, -1:]
        activations = torch.where(keep, z, 0.0).relu()
    found = activations @ p["decoder"] + p["constant"]
    found = found + (x * coder.scale[0]) @ p["skip"].T if "skip" in p else found
    assert torch.allclose(features.decode(features.encode(x), x), found / coder.scale[1], rtol=1e-9, atol=1e-9)


def test_a_run_that_stopped_goes_on(gpt2, tmp_path, monkeypatch):
    """Byte for byte as if it had not."""
    monkeypatch.setattr(training, "SAVE_EVERY", 5)
    monkeypatch.setattr("acdc.dictionaries.training.stream.CHUNK_TOKENS", 256)
    train_dictionary(gpt2, Few(), SMALL, tmp_path / "whole")
    plain, done = Coder.step, [0]

    def stops(self, number, x, y):
        done[0] += 1
        if number >= 41:
            raise KeyboardInterrupt
        return plain(self, number, x, y)

    monkeypatch.setattr(Coder, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(gpt2, Few(), SMALL, tmp_path / "parts")
    assert (tmp_path / "parts/checkpoint.safetensors").exists()
    monkeypatch.setattr(Coder, "step", plain)
    counted = []
    monkeypatch.setattr(Coder, "step", lambda self, n, x, y: counted.append(n) or plain(self, n, x, y))
    train_dictionary(gpt2, Few(), SMALL, tmp_path / "parts")
    assert 30 < min(counted) <= 41 and max(counted) == 59
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {"config.yaml", "layer_0.safetensors", "layer_1.safetensors", "training.json"}
    for name in names - {"config.yaml"}:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    monkeypatch.setattr(Coder, "step", None)  # a finished one is not trained again
    assert train_dictionary(gpt2, Few(), SMALL, tmp_path / "whole").resumed


def test_other_inputs_are_refused(gpt2, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/training.json").write_text('{"status": "done", "inputs": {}}')
    with pytest.raises(InputError, match="is no record of train-dictionary"):
        train_dictionary(gpt2, Few(), SMALL, tmp_path / "d")
    train_dictionary(gpt2, Few(), TrainSettings(features=16, active=2, steps=2), tmp_path / "e")
    with pytest.raises(InputError, match=r"holds a run of other inputs \(steps\)"):
        train_dictionary(gpt2, Few(), TrainSettings(features=16, active=2, steps=3), tmp_path / "e")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (TrainSettings(active=512), "--active 512 must be less than the 512 of --features"),
        (TrainSettings(rate=0.0), "--rate 0 must be above 0"),
        (TrainSettings(TrainedKind.sae, skip=True), "--skip is for transcoders"),
        (TrainSettings(steps=0), "--steps 0 must be at least 1"),
        (
            TrainSettings(activation=TrainedActivation.jumprelu, layers=(0, 7)),
            "mlp_in7: model 'gpt2' has layers 0",
        ),
    ],
)
def test_settings_that_cannot_be_used(settings, says, gpt2, tmp_path):
    with pytest.raises(InputError, match=says):
        train_dictionary(gpt2, Few(), settings, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def superposed(seed, features=24, width=16, active=2, tokens=4096):
    """(inputs, directions): sparse sums of more directions than dimensions (Elhage et al. 2022)."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(features, width, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    chosen = torch.rand(tokens, features, generator=generator).topk(active, dim=1).indices
    sizes = torch.zeros(tokens, features).scatter(1, chosen, 0.5 + torch.rand(tokens, active, generator=generator))
    return sizes @ directions, directions


def recovered(seed, activation, steps=600):
    """Share of known directions that a feature's decoder has a cosine of over 0.9 with."""
    x, directions = superposed(seed)
    hook = Hook(0, Site.resid_post)
    settings = TrainSettings(
        TrainedKind.sae, activation, features=48, active=2, steps=steps, batch=512, rate=3e-3, seed=seed
    )
    coder = Coder(settings, (hook, hook), x, x)
    for step in range(steps):
        at = step * 512 % 4096
        coder.step(step, x[at : at + 512], x[at : at + 512])
    rows = coder.features().decoders[0].values
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return float(((directions @ rows.T).max(1).values > 0.9).float().mean())


def test_known_features_are_recovered():
    assert recovered(0, TrainedActivation.topk) >= 0.9


@pytest.mark.thorough
@pytest.mark.parametrize("activation", TrainedActivation)
def test_known_features_are_recovered_for_twenty_seeds(activation):
    shares = [recovered(seed, activation) for seed in range(20)]
    print(f"{activation}: recovered {np.mean(shares):.1%}, worst {min(shares):.1%}")
    assert np.mean(shares) > 0.9 and min(shares) > 0.7


def test_text_is_streamed_in_windows(trio, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("When Mary and John went to the store\n" * 40)
    corpus = open_corpus(trio, path, ())
    prompts = list(corpus.prompts())
    assert {len(prompt) for prompt in prompts[:-1]} == {32} and all(prompt[0] == 0 for prompt in prompts)
    words = [token for prompt in prompts for token in prompt[1:]]
    once = trio.tokenizer.encode("When Mary and John went to the store", add_special_tokens=False)
    assert words == once * 40
    path.write_bytes(b"fine\nnot \xff fine\n")
    with pytest.raises(InputError, match="text.txt, line 2: not valid UTF-8"):
        list(corpus.prompts())
    with pytest.raises(InputError, match="give --text FILE or --task TASK"):
        open_corpus(trio, path, ("ioi",))


def test_a_perfect_dictionary_keeps_a_task(trio, induction):
    """Of which nothing is left unexplained: logits stay, and so does the metric."""
    from test_quality import as_dictionary, identity_sae

    sets = [identity_sae(Hook(layer, Site.mlp_added), width=64) for layer in range(4)]
    kept = measure_task(as_dictionary(*sets), trio, induction, METRICS.find("logit_diff"))
    assert kept.replaced == pytest.approx(kept.full, rel=1e-9)
    found = measure_quality(as_dictionary(*sets), trio, [row.clean for row in induction.rows[:4]])
    assert all(one.unexplained < 1e-12 for one in found)


def test_the_bundled_transcoders_stand_for_trio_s_mlps():
    """At most 5 % of the variance unexplained in every layer on the prompts of all tasks, whose accuracy is kept."""
    from acdc.dictionaries.bundled import BUNDLED
    from acdc.dictionaries.open import open_for
    from acdc.model.load import load_model
    from acdc.task.load import load_task

    model, folder = load_model("trio"), BUNDLED["trio-transcoders"]
    dictionary = open_for(folder, model)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3 * 2**20
    prompts = []
    for name in ("ioi", "greater_than", "induction"):
        task = load_task(name, model)
        assert measure_task(dictionary, model, task).share >= 0.98, name
        prompts += [row.clean for row in task.rows]
    for one in measure_quality(dictionary, model, prompts):
        assert one.unexplained <= 0.05, one


def test_files_are_those_of_the_format(gpt2, tmp_path):
    train_dictionary(gpt2, Few(), TrainSettings(features=16, active=2, steps=2), tmp_path / "d")
    found = load_file(tmp_path / "d/layer_0.safetensors")
    assert set(found) == {"W_enc", "W_dec", "b_enc", "b_dec", "k"} and int(found["k"]) == 2
