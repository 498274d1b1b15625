"""One layer of a run, with everything in it that can be patched.

Shapes: H heads, N sequences, P positions, d the residual width, e the head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.execution.components import Components, Positions
from acdc.graph import ATTENTION_SLOTS
from acdc.model.placed import patterned
from acdc.patching.sites import Site


@dataclass(frozen=True)
class LayerRun:
    """A layer's values on some prompts: residual streams, what attention and MLP add [N, P, d], queries, keys and
    values [H or KV heads, N, P, e], and what heads write, before any post-norm [H, N, P, d]."""

    components: Components
    layer: int
    pre: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    heads: Tensor
    attn: Tensor
    mid: Tensor
    mlp: Tensor | None
    post: Tensor

    @classmethod
    def of(cls, components: Components, layer: int, pre: Tensor) -> "LayerRun":
        q, k, v = (components.project(layer, kind, pre[None]) for kind in ATTENTION_SLOTS)
        heads = components.attend(layer, q, k, v, Positions(pre.shape[1]))
        attn = added(components, layer, heads)
        mid = pre + attn
        mlp = written_by_mlp(components, layer, pre, mid)
        return cls(components, layer, pre, q, k, v, heads, attn, mid, mlp, mid if mlp is None else mid + mlp)

    def moved(self, weights: Tensor) -> "LayerRun":
        """What stands for this run's values on another prompt, by weights [N, positions there, P]."""

        def move(values: Tensor) -> Tensor:
            return torch.einsum("npq,...nqd->...npd", weights.to(values.dtype), values)

        q, k, v, heads, pre, attn, mid, post = map(
            move, (self.q, self.k, self.v, self.heads, self.pre, self.attn, self.mid, self.post)
        )
        mlp = None if self.mlp is None else move(self.mlp)
        return LayerRun(self.components, self.layer, pre, q, k, v, heads, attn, mid, mlp, post)

    def stream(self, site: Site) -> Tensor:
        """What of the whole layer a site is, [N, P, d]."""
        found = {
            Site.resid_pre: self.pre,
            Site.resid_mid: self.mid,
            Site.resid_post: self.post,
            Site.attn_out: self.attn,
            Site.mlp_out: self.mlp,
        }[site]
        assert found is not None  # `usable` refuses the MLPs of a model that has none
        return found

    def attention_with(self, source: "LayerRun", site: Site, unit: int, mask: Tensor) -> Tensor:
        """What attention adds where one head, or what heads share, is that of another run at some positions [N, P]; of
        patterns these are the queries' positions."""
        group = len(self.q) // len(self.k) if site in (Site.k, Site.v) else 1
        changed = list(range(unit * group, (unit + 1) * group))
        written = self._heads_with(source, site, changed, mask[..., None])
        if not self.components.anatomy.post_norms:
            return self.attn + (written - self.heads[changed]).sum(0)
        heads = self.heads.clone()
        heads[changed] = written
        return added(self.components, self.layer, heads)

    def _heads_with(self, source: "LayerRun", site: Site, heads: list[int], mask: Tensor) -> Tensor:
        """What some heads write, [heads, N, P, d]: one, or those that share keys and values."""
        shared = [heads[0] * len(self.k) // len(self.q)]
        at = Positions(self.pre.shape[1])
        if site is Site.head:
            return torch.where(mask, source.heads[heads], self.heads[heads])
        if site is Site.pattern:
            weights = patterned(self.components)
            theirs, own = (
                weights.patterns(self.layer, run.q[heads], run.k[shared], at, heads) for run in (source, self)
            )
            return weights.mix(self.layer, torch.where(mask, theirs, own), self.v[shared], heads)
        q, k, v = self.q[heads], self.k[shared], self.v[shared]
        if site is Site.q:
            q = torch.where(mask, source.q[heads], q)
        elif site is Site.k:
            k = torch.where(mask, source.k[shared], k)
        else:
            v = torch.where(mask, source.v[shared], v)
        return self.components.attend(self.layer, q, k, v, at, heads)


def added(components: Components, layer: int, heads: Tensor) -> Tensor:
    """What attention adds to the residual stream, of what its heads write [H, N, P, d]."""
    bias, total = components.attention_bias(layer), heads.sum(0)
    total = total if bias is None else total + bias
    return total * components.attention_scale(layer, total) if components.anatomy.post_norms else total


def written_by_mlp(components: Components, layer: int, pre: Tensor, mid: Tensor) -> Tensor | None:
    """What an MLP adds [N, P, d], of the residual stream before the layer and after its attention."""
    if components.anatomy.attn_only:
        return None
    return components.mlp(layer, pre if components.anatomy.parallel else mid)


def attended(components: Components, layer: int, pre: Tensor) -> Tensor:
    """What the attention of a layer adds, of the residual stream before it."""
    q, k, v = (components.project(layer, kind, pre[None]) for kind in ATTENTION_SLOTS)
    return added(components, layer, components.attend(layer, q, k, v, Positions(pre.shape[1])))
