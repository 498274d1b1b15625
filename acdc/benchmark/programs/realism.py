"""Make compiled weights more like trained ones. What a program's circuit is does not change: distractors write where
nobody reads, and all else moves or blurs what is there."""

from dataclasses import dataclass, replace

import numpy as np

from acdc.benchmark.programs.compiler import SHARPNESS
from acdc.benchmark.programs.weights import Layer, Weights
from acdc.errors import InputError

JUNK = 4  # dimensions that a distractor writes to, and nobody reads
CONSTANT = 30.0  # of the part of the residual stream that keeps norms nearly constant
_FRAME_STEPS, _FRAME_RATE = 400, 0.05


@dataclass(frozen=True)
class Realism:
    """`rotated`: the residual stream is in a random orthogonal basis. `distractors`: so many more heads a layer, and
    four times as many units of its MLP, which read at random and write to unread dimensions. `noise`: standard
    deviation of what is added to all weights, as a share of the root mean square of those of the same kind that are not
    0. `squeezed`: share of the dimensions that features have to do without, so that they interfere. `normalised`: a
    LayerNorm stands before everything that reads.
    """

    rotated: bool = False
    distractors: int = 0
    noise: float = 0.0
    squeezed: float = 0.0
    normalised: bool = False

    def __post_init__(self) -> None:
        if self.distractors < 0 or not 0 <= self.noise < 1 or not 0 <= self.squeezed < 1:
            raise InputError(f"{self}: distractors must not be negative, noise and squeezed be in [0, 1)")


KNOBS = {
    "plain": Realism(),
    "rotated": Realism(rotated=True),
    "distractors": Realism(distractors=2),
    "noise": Realism(noise=0.001),
    "squeezed": Realism(squeezed=0.02),
    "normalised": Realism(normalised=True),
    "all": Realism(True, 2, 0.0005, 0.02, True),
}


def make_real(weights: Weights, realism: Realism, seed: int) -> Weights:
    """Apply all that is switched on, from what changes the features to what changes single weights."""
    generator = np.random.default_rng(seed)
    if realism.distractors:
        weights = _distract(weights, realism.distractors, generator)
    if realism.squeezed:
        frame = _frame(weights.width, int((1 - realism.squeezed) * weights.width), generator)
        weights = weights.in_basis(frame, frame)
    if realism.normalised:
        weights = _normalise(weights)
    if realism.rotated:
        turned = _rotation(weights.width, generator, fixes_mean=realism.normalised)
        weights = weights.in_basis(turned, turned)
    if realism.noise:
        weights = weights.map(lambda array: _blur(array, realism.noise, generator))
    return weights


def _distract(weights: Weights, count: int, generator: np.random.Generator) -> Weights:
    """Heads that look at random for random things, and units of MLPs that respond to random ones."""
    old, new = weights.width, weights.width + JUNK
    wider = weights.in_basis(np.eye(old, new), np.eye(old, new))
    layers = tuple(_distract_layer(layer, old, count, generator) for layer in wider.layers)
    return replace(wider, layers=layers)


def _distract_layer(layer: Layer, read: int, count: int, generator: np.random.Generator) -> Layer:
    _, width, d_head = layer.query.shape

    def reading(*shape: int) -> np.ndarray:
        """Random readers of the first `read` dimensions."""
        drawn = generator.normal(size=shape)
        drawn[..., read:, :] = 0.0
        return drawn

    def writing(*shape: int) -> np.ndarray:
        drawn = generator.normal(size=shape)
        drawn[..., :read] = 0.0
        return drawn

    query, key, value = (reading(count, width, d_head) for _ in range(3))
    units = 4 * count if layer.reads.shape[1] else 0
    return replace(
        layer,
        query=np.concatenate([layer.query, np.sqrt(SHARPNESS) * query]),
        key=np.concatenate([layer.key, key]),
        value=np.concatenate([layer.value, value]),
        query_bias=np.concatenate([layer.query_bias, generator.normal(size=(count, d_head))]),
        output=np.concatenate([layer.output, writing(count, d_head, width) / np.sqrt(d_head)]),
        reads=np.concatenate([layer.reads, reading(width, units)], axis=1),
        bias=np.concatenate([layer.bias, generator.normal(size=units)]),
        writes=np.concatenate([layer.writes, writing(units, width)]),
    )


def _frame(features: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Unit vectors [features, width] that are as nearly orthogonal as descent on their overlaps makes them."""
    frame = generator.normal(size=(features, width))
    for _ in range(_FRAME_STEPS):
        frame /= np.linalg.norm(frame, axis=1, keepdims=True)
        overlaps = frame @ frame.T - np.eye(features)
        frame -= _FRAME_RATE * (overlaps @ frame) * features / width
    return frame / np.linalg.norm(frame, axis=1, keepdims=True)


def _normalise(weights: Weights) -> Weights:
    """A LayerNorm that changes next to nothing: every token also writes a constant so large that the rest hardly
    matters for the scale, and all that reads undoes that scale.

    Two more dimensions hold the constant and the mean that a LayerNorm takes away; the basis is turned so that the mean
    over dimensions is the second of them.
    """
    width = weights.width + 2
    placed = np.eye(weights.width, width)
    wider = weights.in_basis(placed, placed)
    constant = np.zeros(width)
    constant[-2] = CONSTANT
    turned = _to_mean(width)
    scale = CONSTANT / np.sqrt(width)  # of the residual stream where there is nothing but the constant
    moved = replace(wider, tokens=wider.tokens + constant).in_basis(turned, scale * turned)
    return replace(moved, normalised=True)


def _to_mean(width: int) -> np.ndarray:
    """The reflection [width, width] that takes the last axis to the direction in which all dimensions are alike."""
    axis, alike = np.eye(width)[-1], np.full(width, 1 / np.sqrt(width))
    normal = (axis - alike) / np.linalg.norm(axis - alike)
    return np.eye(width) - 2 * np.outer(normal, normal)


def _rotation(width: int, generator: np.random.Generator, fixes_mean: bool) -> np.ndarray:
    """A random orthogonal matrix [width, width], as Haar's measure has it; with `fixes_mean` one that leaves the
    direction alone that a LayerNorm takes away."""
    size = width - 1 if fixes_mean else width
    drawn, triangle = np.linalg.qr(generator.normal(size=(size, size)))
    turned = np.eye(width)
    turned[:size, :size] = drawn * np.sign(np.diag(triangle))
    reflection = _to_mean(width)
    return reflection.T @ turned @ reflection if fixes_mean else turned


def _blur(array: np.ndarray, noise: float, generator: np.random.Generator) -> np.ndarray:
    used = array[array != 0]
    size = np.sqrt(np.mean(used**2)) if used.size else 0.0
    return array + noise * size * generator.normal(size=array.shape)
