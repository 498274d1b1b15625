"""Interventions in the syntax of users, and as raw hooks on a plain model: (given, contexts of a `Plain`)."""

import torch

VECTOR = torch.linspace(-1, 2, 16, dtype=torch.float64)


def only(positions, change):
    """A change at some positions alone."""

    def changed(x):
        out = x.clone()
        out[:, positions] = change(x)[:, positions]
        return out

    return changed


def along(change):
    """A change of the coordinate along the vector."""

    def changed(x):
        present = (x @ VECTOR)[..., None] / (VECTOR @ VECTOR)
        return x + (change(present) - present) * VECTOR

    return changed


CASES = {
    "head to 0": ({"set": "a0.h2=0"}, lambda p: [p.head(0, 2, 4, torch.zeros_like)]),
    "head at a position": ({"scale": "a1.h1@-1=3"}, lambda p: [p.head(1, 1, 4, only([-1], lambda x: 3 * x))]),
    "head to a vector": ({"set": "a0.h3@1:3=v"}, lambda p: [p.head(0, 3, 4, only([1, 2], lambda x: 0 * x + VECTOR))]),
    "head along": ({"scale": "a0.h0[v]=0"}, lambda p: [p.head(0, 0, 4, along(torch.zeros_like))]),
    "mlp scaled": ({"scale": "m0=0.5"}, lambda p: [p.mlp_written(0, lambda x: 0.5 * x)]),
    "mlp added to": ({"add": "m1@2=v"}, lambda p: [p.mlp_written(1, only([2], lambda x: x + VECTOR))]),
    "neuron scaled": ({"scale": "m0.n8=2"}, lambda p: [p.neuron(0, 8, lambda x: 2 * x)]),
    "neuron set": ({"set": "m1.n3@-2:=1.5"}, lambda p: [p.neuron(1, 3, only([-2, -1], lambda x: 0 * x + 1.5))]),
    "steered": ({"add": "resid_pre1[v]=2"}, lambda p: [p.residual(1, lambda x: x + 2 * VECTOR)]),
    "direction set": (
        {"set": "resid_post1[v]@-1=4"},
        lambda p: [p.residual(1, only([-1], along(lambda c: 0 * c + 4)), True)],
    ),
    "several": (
        {"set": ["a0.h1=0", "m1.n2=1"], "scale": "a0.h1@0=7", "add": ["resid_pre0[v]@3=1", "a0.h1@-1=v"]},
        lambda p: [
            p.residual(0, only([3], lambda x: x + VECTOR)),
            p.head(0, 1, 4, lambda x: only([-1], lambda y: y + VECTOR)(torch.zeros_like(x))),
            p.neuron(1, 2, torch.ones_like),
        ],
    ),
}
