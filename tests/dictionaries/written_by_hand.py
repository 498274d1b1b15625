"""Dictionaries of every format, written by hand from what their libraries say of them, with what a plain NumPy reading
of the same numbers gives.

Shapes: n inputs, d in, o out, F features. A case writes a folder and gives (inputs [n, d], activations [n, F], what is
written [n, o]) in float64.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

D, F, N = 8, 20, 12
Read = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Numbers:
    """Random numbers: an encoder by features, a decoder by features, biases, and inputs."""

    seed: int = 0

    def __post_init__(self) -> None:
        draw = np.random.default_rng(self.seed).standard_normal
        values = {
            "x": draw((N, D)), "enc": draw((F, D)), "dec": draw((F, D)), "b_enc": draw(F), "b_dec": draw(D),
            "skip": draw((D, D)), "threshold": np.abs(draw(F)), "r": 0.3 * draw(F), "b_mag": draw(F),
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)


def relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0.0)


def topk(z: np.ndarray, k: int) -> np.ndarray:
    """The k largest of each row, rectified."""
    out = np.zeros_like(z)
    for row, values in enumerate(z):
        best = np.argsort(-values)[:k]
        out[row, best] = relu(values[best])
    return out


def save(path: Path, **tensors: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name.replace("__", "."): np.ascontiguousarray(value) for name, value in tensors.items()}, path)


def settings(path: Path, values: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def per_layer(folder: Path, n: Numbers) -> Read:
    """JumpReLU with a skip, which is stored [d_out, d_in]."""
    (folder / "config.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        "model_kind: transcoder_set\nmodel_name: m\nfeature_input_hook: hook_resid_mid\n"
        'feature_output_hook: hook_mlp_out\nscan: "m-set"\n'
    )
    tensors = {"W_enc": n.enc, "W_dec": n.dec, "b_enc": n.b_enc, "b_dec": n.b_dec, "W_skip": n.skip}
    save(folder / "layer_0.safetensors", **tensors, activation_function__threshold=n.threshold)
    z = n.x @ n.enc.T + n.b_enc
    acts = z * (z > n.threshold)
    return n.x, acts, acts @ n.dec + n.b_dec + n.x @ n.skip.T


def per_layer_topk(folder: Path, n: Numbers) -> Read:
    save(folder / "layer_0.safetensors", W_enc=n.enc, W_dec=n.dec, b_enc=n.b_enc, b_dec=n.b_dec, k=np.array(3))
    acts = topk(n.x @ n.enc.T + n.b_enc, 3)
    return n.x, acts, acts @ n.dec + n.b_dec


def lens(folder: Path, n: Numbers, architecture: str, tensors: dict, **more: object) -> None:
    metadata = {"hook_name": "blocks.0.hook_resid_post", "model_name": "m", "sae_lens_version": "6.0.0"}
    if "transcoder" in architecture:
        metadata |= {"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": "blocks.0.hook_mlp_out"}
    usual = {"architecture": architecture, "d_in": D, "d_sae": F, "apply_b_dec_to_input": True, "metadata": metadata}
    settings(folder / "cfg.json", usual | more)
    save(folder / "sae_weights.safetensors", W_enc=n.enc.T, W_dec=n.dec, b_dec=n.b_dec, **tensors)


def lens_standard(folder: Path, n: Numbers) -> Read:
    lens(folder, n, "standard", {"b_enc": n.b_enc})
    acts = relu((n.x - n.b_dec) @ n.enc.T + n.b_enc)
    return n.x, acts, acts @ n.dec + n.b_dec


def lens_before_6(folder: Path, n: Numbers) -> Read:
    """The names that configurations had, with TopK as an activation function and its k elsewhere."""
    old = {
        "hook_point": "blocks.0.hook_resid_pre", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4},
        "normalize_activations": False, "d_in": D, "d_sae": F,
    }  # fmt: skip
    settings(folder / "cfg.json", old)
    save(folder / "sae_weights.safetensors", W_enc=n.enc.T, W_dec=n.dec, b_dec=n.b_dec, b_enc=n.b_enc)
    acts = topk((n.x - n.b_dec) @ n.enc.T + n.b_enc, 4)
    return n.x, acts, acts @ n.dec + n.b_dec


def lens_topk(folder: Path, n: Numbers) -> Read:
    """Chosen by, and given out in, the scale of decoder rows of norm 1."""
    lens(folder, n, "topk", {"b_enc": n.b_enc}, k=5, rescale_acts_by_decoder_norm=True)
    norms = np.linalg.norm(n.dec, axis=1)
    acts = topk(((n.x - n.b_dec) @ n.enc.T + n.b_enc) * norms, 5)
    return n.x, acts, (acts / norms) @ n.dec + n.b_dec


def lens_jumprelu(folder: Path, n: Numbers) -> Read:
    threshold = n.threshold - 0.5  # of which some are below 0: what is below 0 is never active
    lens(folder, n, "jumprelu", {"b_enc": n.b_enc, "threshold": threshold}, apply_b_dec_to_input=False)
    z = n.x @ n.enc.T + n.b_enc
    acts = relu(z) * (z > threshold)
    return n.x, acts, acts @ n.dec + n.b_dec


def lens_gated(folder: Path, n: Numbers) -> Read:
    lens(folder, n, "gated", {"b_gate": n.b_enc, "r_mag": n.r, "b_mag": n.b_mag})
    inside = n.x - n.b_dec
    acts = (inside @ n.enc.T + n.b_enc > 0) * relu(inside @ (n.enc.T * np.exp(n.r)) + n.b_mag)
    return n.x, acts, acts @ n.dec + n.b_dec


def lens_layer_norm(folder: Path, n: Numbers) -> Read:
    lens(folder, n, "standard", {"b_enc": n.b_enc}, normalize_activations="layer_norm", apply_b_dec_to_input=True)
    mean, std = n.x.mean(1, keepdims=True), n.x.std(1, ddof=1, keepdims=True)
    acts = relu(((n.x - mean) / (std + 1e-5) - n.b_dec) @ n.enc.T + n.b_enc)
    return n.x, acts, (acts @ n.dec + n.b_dec) * std + mean


def lens_constant_norm(folder: Path, n: Numbers) -> Read:
    lens(folder, n, "standard", {"b_enc": n.b_enc}, normalize_activations="constant_norm_rescale")
    factor = np.sqrt(D) / np.linalg.norm(n.x, axis=1, keepdims=True)
    acts = relu((n.x * factor - n.b_dec) @ n.enc.T + n.b_enc)
    return n.x, acts, (acts @ n.dec + n.b_dec) / factor


def lens_transcoder(folder: Path, n: Numbers) -> Read:
    """No bias is taken off what is read."""
    lens(folder, n, "transcoder", {"b_enc": n.b_enc}, apply_b_dec_to_input=False)
    acts = relu(n.x @ n.enc.T + n.b_enc)
    return n.x, acts, acts @ n.dec + n.b_dec


def lens_skip_transcoder(folder: Path, n: Numbers) -> Read:
    lens(folder, n, "skip_transcoder", {"b_enc": n.b_enc, "W_skip": n.skip}, apply_b_dec_to_input=False)
    acts = relu(n.x @ n.enc.T + n.b_enc)
    return n.x, acts, acts @ n.dec + n.b_dec + n.x @ n.skip.T


def gemma_scope(folder: Path, n: Numbers) -> Read:
    where = folder / "gemma-scope-2b-pt-res/layer_0/width_16k/average_l0_71"
    where.mkdir(parents=True)
    np.savez(where / "params.npz", W_enc=n.enc.T, W_dec=n.dec, b_enc=n.b_enc, b_dec=n.b_dec, threshold=n.threshold)
    z = n.x @ n.enc.T + n.b_enc
    acts = z * (z > n.threshold)
    return n.x, acts, acts @ n.dec + n.b_dec


def gemma_scope_embedding(folder: Path, n: Numbers) -> Read:
    """Trained on embeddings times sqrt(d); keys in lower case."""
    where = folder / "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"
    where.mkdir(parents=True)
    np.savez(where / "params.npz", w_enc=n.enc.T, w_dec=n.dec, b_enc=n.b_enc, b_dec=n.b_dec, threshold=n.threshold)
    z = n.x @ (n.enc.T / np.sqrt(D)) + n.b_enc
    acts = z * (z > n.threshold)
    return n.x, acts, acts @ (n.dec * np.sqrt(D)) + n.b_dec


def gemma_scope_2(folder: Path, n: Numbers) -> Read:
    """A transcoder with an affine skip, which is stored [d_in, d_out]."""
    settings(
        folder / "config.json",
        {
            "hf_hook_point_in": "model.layers.0.pre_feedforward_layernorm.output",
            "hf_hook_point_out": "model.layers.0.post_feedforward_layernorm.output",
            "width": F, "model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu", "l0": 10,
            "affine_connection": True, "type": "transcoder",
        },
    )  # fmt: skip
    tensors = {"w_enc": n.enc.T, "w_dec": n.dec, "b_enc": n.b_enc, "b_dec": n.b_dec, "threshold": n.threshold}
    save(folder / "params.safetensors", **tensors, affine_skip_connection=n.skip.T)
    z = n.x @ n.enc.T + n.b_enc
    acts = z * (z > n.threshold)
    return n.x, acts, acts @ n.dec + n.b_dec + n.x @ n.skip.T


def sparsify_topk(folder: Path, n: Numbers) -> Read:
    settings(folder / "layers.0/cfg.json", {"d_in": D, "num_latents": F, "k": 4, "activation": "topk"})
    tensors = {"encoder__weight": n.enc, "encoder__bias": n.b_enc, "W_dec": n.dec, "b_dec": n.b_dec}
    save(folder / "layers.0/sae.safetensors", **tensors)
    acts = topk(relu((n.x - n.b_dec) @ n.enc.T + n.b_enc), 4)
    return n.x, acts, acts @ n.dec + n.b_dec


def sparsify_groupmax(folder: Path, n: Numbers) -> Read:
    """A transcoder with a skip; its features are the largest of each of 5 groups of 4 that follow one another."""
    where = folder / "layers.0.mlp"
    kind = {"activation": "groupmax", "transcode": True, "skip_connection": True}
    settings(where / "cfg.json", {"d_in": D, "num_latents": F, "k": 5} | kind)
    tensors = {"encoder__weight": n.enc, "encoder__bias": n.b_enc, "W_dec": n.dec, "b_dec": n.b_dec, "W_skip": n.skip}
    save(where / "sae.safetensors", **tensors)
    z, acts = relu(n.x @ n.enc.T + n.b_enc), np.zeros((N, F))
    for row in range(N):
        for group in range(5):
            best = group * 4 + int(np.argmax(z[row, group * 4 : group * 4 + 4]))
            acts[row, best] = z[row, best]
    return n.x, acts, acts @ n.dec + n.b_dec + n.x @ n.skip.T


def learned(folder: Path, name: str, tensors: dict, **more: object) -> None:
    trainer = {"dict_class": name, "layer": 1, "lm_name": "m", "submodule_name": "resid_post_layer_0", **more}
    settings(folder / "config.json", {"trainer": trainer})
    save(folder / "ae.safetensors", **tensors)


def learned_plain(folder: Path, n: Numbers) -> Read:
    """The library makes decoder columns of norm 1 when it loads them."""
    tensors = {"encoder__weight": n.enc, "encoder__bias": n.b_enc, "decoder__weight": n.dec.T, "bias": n.b_dec}
    learned(folder, "AutoEncoder", tensors)
    norms = np.linalg.norm(n.dec, axis=1)
    acts = relu((n.x - n.b_dec) @ n.enc.T + n.b_enc)
    return n.x, acts * norms, acts @ n.dec + n.b_dec


def learned_topk(folder: Path, n: Numbers) -> Read:
    tensors = {"encoder__weight": n.enc, "encoder__bias": n.b_enc, "decoder__weight": n.dec.T, "b_dec": n.b_dec}
    learned(folder, "AutoEncoderTopK", tensors | {"k": np.array(3), "threshold": np.array(-1.0)}, k=3)
    acts = topk(relu((n.x - n.b_dec) @ n.enc.T + n.b_enc), 3)
    return n.x, acts, acts @ n.dec + n.b_dec


def learned_batch_topk(folder: Path, n: Numbers) -> Read:
    tensors = {"encoder__weight": n.enc, "encoder__bias": n.b_enc, "decoder__weight": n.dec.T, "b_dec": n.b_dec}
    learned(folder, "BatchTopKSAE", tensors | {"k": np.array(3), "threshold": np.array(0.7)}, k=3)
    z = relu((n.x - n.b_dec) @ n.enc.T + n.b_enc)
    acts = z * (z > 0.7)
    return n.x, acts, acts @ n.dec + n.b_dec


def learned_gated(folder: Path, n: Numbers) -> Read:
    tensors = {"encoder__weight": n.enc, "decoder__weight": n.dec.T, "decoder_bias": n.b_dec, "r_mag": n.r}
    learned(folder, "GatedAutoEncoder", tensors | {"gate_bias": n.b_enc, "mag_bias": n.b_mag})
    inside = (n.x - n.b_dec) @ n.enc.T
    acts = (inside + n.b_enc > 0) * relu(np.exp(n.r) * inside + n.b_mag)
    return n.x, acts, acts @ n.dec + n.b_dec


def learned_jumprelu(folder: Path, n: Numbers) -> Read:
    tensors = {"W_enc": n.enc.T, "W_dec": n.dec, "b_enc": n.b_enc, "b_dec": n.b_dec, "threshold": n.threshold}
    learned(folder, "JumpReluAutoEncoder", tensors)
    z = n.x @ n.enc.T + n.b_enc
    acts = z * (z > n.threshold)
    return n.x, acts, acts @ n.dec + n.b_dec


def learned_matryoshka(folder: Path, n: Numbers) -> Read:
    tensors = {"W_enc": n.enc.T, "W_dec": n.dec, "b_enc": n.b_enc, "b_dec": n.b_dec, "threshold": np.array(0.4)}
    learned(folder, "MatryoshkaBatchTopKSAE", tensors, k=3)
    z = relu((n.x - n.b_dec) @ n.enc.T + n.b_enc)
    acts = z * (z > 0.4)
    return n.x, acts, acts @ n.dec + n.b_dec


def scopium(folder: Path, n: Numbers, tensors: dict, **more: object) -> None:
    usual = {
        "sae_type": "sae", "d_model": D, "expansion_factor": F / D, "norm_activation": "inference",
        "hook_point_in": "blocks.0.hook_resid_post", "hook_point_out": "blocks.0.hook_resid_post",
    }  # fmt: skip
    settings(folder / "config.json", usual | more)
    names = {"W_E": n.enc.T, "b_E": n.b_enc, "W_D": n.dec, "b_D": n.b_dec}
    save(folder / "sae_weights.safetensors", **names, **tensors)


def scopium_jumprelu(folder: Path, n: Numbers) -> Read:
    """Active by z times the norm of the decoder's row."""
    logs = {"activation_function__log_jumprelu_threshold": np.log(n.threshold)}
    scopium(folder, n, logs, act_fn="jumprelu", sparsity_include_decoder_norm=True)
    norms = np.linalg.norm(n.dec, axis=1)
    z = (n.x @ n.enc.T + n.b_enc) * norms
    acts = z * (z > n.threshold) / norms
    return n.x, acts, acts @ n.dec + n.b_dec


def scopium_topk(folder: Path, n: Numbers) -> Read:
    """A transcoder, trained on inputs and outputs of norm sqrt(d)."""
    hooks = {"hook_point_in": "blocks.0.hook_resid_mid", "hook_point_out": "blocks.0.hook_mlp_out"}
    norms = {"hook_point_in": 3.0, "hook_point_out": 0.5}
    averages = {
        f"dataset_average_activation_norm__{hooks[key].replace('.', '__')}": np.array([value])
        for key, value in norms.items()
    }
    scopium(folder, n, averages, act_fn="topk", top_k=4, norm_activation="dataset-wise", **hooks)
    into, out = (np.sqrt(D) / norms[key] for key in hooks)
    rows = np.linalg.norm(n.dec, axis=1)
    acts = topk(relu((n.x * into) @ n.enc.T + n.b_enc) * rows, 4) / rows
    return n.x, acts / into, (acts @ n.dec + n.b_dec) / out


CASES: dict[str, Callable[[Path, Numbers], Read]] = {
    one.__name__: one
    for one in (
        per_layer, per_layer_topk, lens_standard, lens_before_6, lens_topk, lens_jumprelu, lens_gated, lens_layer_norm,
        lens_constant_norm, lens_transcoder, lens_skip_transcoder, gemma_scope, gemma_scope_embedding, gemma_scope_2,
        sparsify_topk, sparsify_groupmax, learned_plain, learned_topk, learned_batch_topk, learned_gated,
        learned_jumprelu, learned_matryoshka, scopium_jumprelu, scopium_topk,
    )
}  # fmt: skip


def cross_layer(folder: Path, layers: int = 3) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """(inputs, activations, what is written) by layers, of circuit-tracer's cross-layer transcoders."""
    draw = np.random.default_rng(1).standard_normal
    x = [draw((N, D)) for _ in range(layers)]
    acts, out, constants = [], [np.zeros((N, D)) for _ in range(layers)], []
    for layer in range(layers):
        enc, dec = draw((F, D)), draw((F, layers - layer, D))
        b_enc, b_dec, threshold = draw(F), draw(D), np.abs(draw(F))
        names = {
            f"W_enc_{layer}": enc,
            f"b_enc_{layer}": b_enc,
            f"b_dec_{layer}": b_dec,
            f"threshold_{layer}": threshold,
        }
        save(folder / f"W_enc_{layer}.safetensors", **names)
        save(folder / f"W_dec_{layer}.safetensors", **{f"W_dec_{layer}": dec})
        z = x[layer] @ enc.T + b_enc
        acts.append(z * (z > threshold))
        constants.append(b_dec)
        for to in range(layer, layers):
            out[to] += acts[-1] @ dec[:, to - layer]
    return x, acts, [written + constant for written, constant in zip(out, constants, strict=True)]


def gemma_cross_layer(folder: Path, layers: int = 3) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The same of Gemma Scope 2, whose decoders have a part for every layer, those below too."""
    draw = np.random.default_rng(2).standard_normal
    settings(folder / "config.json", {"architecture": "jump_relu", "model_name": "m"})
    x = [draw((N, D)) for _ in range(layers)]
    acts, out, constants = [], [np.zeros((N, D)) for _ in range(layers)], []
    for layer in range(layers):
        enc, dec = draw((D, F)), draw((F, layers, D))
        b_enc, b_dec, threshold = draw(F), draw(D), np.abs(draw(F))
        tensors = {"w_enc": enc, "w_dec": dec, "b_enc": b_enc, "b_dec": b_dec, "threshold": threshold}
        save(folder / f"params_layer_{layer}.safetensors", **tensors)
        z = x[layer] @ enc + b_enc
        acts.append(z * (z > threshold))
        constants.append(b_dec)
        for to in range(layer, layers):
            out[to] += acts[-1] @ dec[:, to]
    return x, acts, [written + constant for written, constant in zip(out, constants, strict=True)]
