"""Families from a folder: computed from their weights, or refused in a sentence."""

import re
import warnings

import pytest
import torch
from conftest import ROOT, thorough_but
from families import ALL, MORE, REFUSED, WITH_EXPERTS, boot, config_folder, hugging_face

from acdc.errors import AcdcWarning, InputError
from acdc.execution.components import Positions
from acdc.graph import ATTENTION_SLOTS
from acdc.model.load import hugging_face_config, load_model
from acdc.model.sources import FAMILIES, find_source

WHY = {
    "olmo2": "normed over all heads together.*norms of each head are supported",
    "phi-normed": "qk_layernorm.*Phi without them is supported",
    "opt-after": "do_layer_norm_before is false.*OPT with norms before each component is supported",
    "opt-narrow": "word_embed_proj_dim must equal hidden_size",
    "bloom-normed": "apply_residual_connection_post_layernorm.*Bloom without it is supported",
    "falcon-alibi": "Falcon with rotary positions is supported",
    "falcon-grouped": "new_decoder_architecture.*Falcon without it",
}


@pytest.mark.parametrize("name", thorough_but(["bloom", "gpt_oss"], MORE))
def test_a_folder_is_computed_from_its_weights(name, tmp_path):
    """Without a warning, which choosing the model's own modules would bring; the logits are those of transformers."""
    plain = hugging_face(name)
    plain.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AcdcWarning)
        model = load_model(str(tmp_path), dtype="float64")
    assert model.components.kind == (
        "functional, MLPs by the model's own modules" if name in WITH_EXPERTS else "functional"
    )
    tokens = torch.arange(7)[None] * 5 % 40
    with torch.no_grad():
        expected = plain(tokens).logits[0, -1]
        ours = model.executor().run(tokens, torch.tensor([6])).logits[0]
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()  # transformers norms in float32


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_component_has_alone_is_refused(name, tmp_path):
    config_folder(name, tmp_path)
    with pytest.raises(InputError, match=WHY[name]) as refused:
        hugging_face_config(find_source(str(tmp_path), weights=False))
    assert "\n" not in str(refused.value) and "config.json" in str(refused.value)


def test_every_family_is_tested():
    tested = {type(make()).__name__ for name, make in ALL.items() if name not in REFUSED}
    assert tested == set(FAMILIES) - {"TransformerLensNative"}


def test_scores_alone_are_refused_where_there_are_sinks():
    components = boot("gpt_oss", layers=2, seed=0).components
    residual = torch.randn(1, 1, 5, 16, dtype=torch.float64)
    q, k, _ = (components.project(0, kind, residual) for kind in ATTENTION_SLOTS)
    with pytest.raises(InputError, match="attention has sinks|has sinks besides"):
        components.scores(0, q, k, Positions(5))
    assert (components.patterns(0, q, k, Positions(5)).sum(-1) < 1).all()  # the sink has the rest


def test_the_guide_lists_every_family():
    rows = re.findall(r"^\| ([\w-]+) \| `(\w+)` \|", (ROOT / "docs/families.md").read_text(), re.MULTILINE)
    assert {architecture: family for family, architecture in rows} == FAMILIES
