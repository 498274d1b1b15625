"""All patched runs of one batch of rows, layer by layer.

A patched run equals the base run up to the layer that is patched, so it is computed from there on alone. Of the two
runs that are compared, only one layer is held at a time. Many patched runs are computed at once, one after the other in
the dimension of sequences.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import torch
from torch import Tensor

from acdc.behaviour.behaviour import CANDIDATE_BYTES, CANDIDATE_TOKENS
from acdc.execution.components import Components
from acdc.patching.layer_run import LayerRun, attended, written_by_mlp
from acdc.patching.sites import ADDED, OF_HEADS, Site, units

BEFORE, MIDDLE = (Site.resid_pre,), (Site.resid_mid, Site.attn_out, *OF_HEADS)  # what is patched there


@dataclass(frozen=True)
class Cell:
    """One patched run of a batch: where in its map it is, the part of the layer and the positions [N, P] that are those
    of the other run."""

    unit: int
    place: int
    mask: Tensor


@dataclass(frozen=True)
class Patched:
    """Final residual streams [cells * N, P, d] of some cells of a map, whose row is that of a layer."""

    layer: int
    cells: Sequence[Cell]
    final: Tensor


class PatchedRuns:
    """Runs of `base` prompts in which something is as in a run of `source` prompts; both are embedded, [N, P, d]."""

    def __init__(
        self, components: Components, base: Tensor, source: Tensor, window: int = 1, paired: Tensor | None = None
    ):
        """`window`: attention and MLP outputs are patched in so many layers around each layer together. `paired`: by
        which weights what the source has stands for what the base has [N, base positions, source positions], None where
        they correspond position by position; then a window is one layer."""
        assert window == 1 or paired is None
        self.components, self.window, self.paired = components, window, paired
        self.base, self.source = base, source
        self._layers = components.anatomy.n_layers
        self._added = dict[tuple[Site, int], Tensor]()  # by the source run, where several layers of it are needed

    def each(self, masks: Mapping[Site, Sequence[Tensor]]) -> Iterator[tuple[Site, Patched]]:
        """Every cell of the maps of some sites, layer by layer: each part of a layer at every place that some row has.
        `masks`: by place, which positions [N, P] are in it."""
        self._added = dict(self._add_up())
        base, source = self.base, self.source
        for layer in range(self._layers):
            mine, theirs = (LayerRun.of(self.components, layer, pre) for pre in (base, source))
            placed = theirs if self.paired is None else theirs.moved(self.paired)
            for site, of_site in masks.items():
                yield from ((site, patched) for patched in self._of_layer(mine, placed, site, of_site))
            base, source = mine.post, theirs.post

    def _add_up(self) -> Iterator[tuple[tuple[Site, int], Tensor]]:
        """What patches of several layers need of the source run."""
        source = self.source
        for layer in range(self._layers if self.window > 1 else 0):
            run = LayerRun.of(self.components, layer, source)
            yield (Site.attn_out, layer), run.attn
            if run.mlp is not None:
                yield (Site.mlp_out, layer), run.mlp
            source = run.post

    def _of_layer(self, base: LayerRun, source: LayerRun, site: Site, masks: Sequence[Tensor]) -> Iterator[Patched]:
        """The cells of one map whose patches begin in a layer."""
        cells = [
            Cell(unit, place, mask)
            for unit in range(len(units(site, self.components.anatomy)))
            for place, mask in enumerate(masks)
            if mask.any()
        ]
        for centre in self._centres(site, base.layer):
            for start in range(0, len(cells), self._width()):
                some = cells[start : start + self._width()]
                yield Patched(centre, some, self._finish(base, source, site, some, self._stop(site, centre)))

    def _centres(self, site: Site, layer: int) -> list[int]:
        """The rows of a map whose patches begin in a layer."""
        return [centre for centre in range(self._layers) if self._start(site, centre) == layer]

    def _start(self, site: Site, centre: int) -> int:
        return max(0, centre - self.window // 2) if site in ADDED else centre

    def _stop(self, site: Site, centre: int) -> int:
        return min(self._layers, centre + ceil(self.window / 2)) if site in ADDED else centre + 1

    def _width(self) -> int:
        """How many cells are run together."""
        shape, (rows, length, width) = self.components.anatomy, self.base.shape
        bytes_of_one = rows * length * width * shape.n_heads * self.base.element_size()
        return max(1, min(CANDIDATE_TOKENS // (rows * length), CANDIDATE_BYTES // bytes_of_one))

    def _finish(self, base: LayerRun, source: LayerRun, site: Site, cells: Sequence[Cell], stop: int) -> Tensor:
        x = torch.cat([self._entered(base, source, site, cell) for cell in cells])
        masks = torch.cat([cell.mask for cell in cells])[..., None]
        copies, after = len(cells), base.layer + 1
        if site in BEFORE:
            return run(self.components, x, base.layer)
        if site in MIDDLE and base.mlp is not None:
            same = self.components.anatomy.parallel  # then the MLP does not read what was patched
            pre = base.pre.repeat(copies, 1, 1)
            mlp = base.mlp.repeat(copies, 1, 1) if same else written_by_mlp(self.components, base.layer, pre, x)
            assert mlp is not None
            x = x + mlp
        return run(self.components, x, after, partial(self._patch, site, stop, masks))

    def _entered(self, base: LayerRun, source: LayerRun, site: Site, cell: Cell) -> Tensor:
        """The residual stream before the layer, after its attention or after its MLP, with the patch in it."""
        if site in OF_HEADS:
            return base.pre + base.attention_with(source, site, cell.unit, cell.mask)
        patched = torch.where(cell.mask[..., None], source.stream(site), base.stream(site))
        if site is Site.attn_out:
            return base.pre + patched
        return base.mid + patched if site is Site.mlp_out else patched

    def _patch(self, site: Site, stop: int, masks: Tensor, layer: int, own: Site, added: Tensor) -> Tensor:
        """What attention or MLP of a later layer adds, where the patch covers that layer too."""
        if own is not site or layer >= stop:
            return added
        theirs = self._added[site, layer]
        return torch.where(masks, theirs.repeat(len(added) // len(theirs), 1, 1), added)


def run(
    components: Components,
    x: Tensor,
    layer: int = 0,
    patch: Callable[[int, Site, Tensor], Tensor] = lambda layer, site, added: added,
) -> Tensor:
    """The final residual stream of what enters a layer, [N, P, d]; `patch` may change what attention and MLPs add."""
    for later in range(layer, components.anatomy.n_layers):
        mid = x + patch(later, Site.attn_out, attended(components, later, x))
        mlp = written_by_mlp(components, later, x, mid)
        x = mid if mlp is None else mid + patch(later, Site.mlp_out, mlp)
    return x
