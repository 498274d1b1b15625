"""What can be patched: the residual stream, what a layer adds to it, and what its heads use and write."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from acdc.errors import InputError
from acdc.graph import Anatomy, ReaderKind


class Site(StrEnum):
    """Names of what is patched in a layer, after TransformerLens' hooks where it has one.

    `resid_pre`, `resid_mid` and `resid_post`: the residual stream before the layer, between its attention and its MLP,
    and after it; `attn_out` and `mlp_out`: what attention and MLP add to it, norms and biases included; `head`: what a
    single head mixes, before the output projection (z); `q`, `k` and `v`: what it uses as queries, keys and values; and
    `pattern`: how much its queries attend to each position.
    """

    resid_pre = "resid_pre"
    resid_mid = "resid_mid"
    resid_post = "resid_post"
    attn_out = "attn_out"
    mlp_out = "mlp_out"
    head = "head"
    q = "q"
    k = "k"
    v = "v"
    pattern = "pattern"


@dataclass(frozen=True)
class About:
    """`meaning`: in words, for a layer or a head; `slot`: of heads, the slot whose heads it counts."""

    meaning: str
    slot: ReaderKind | None = None


ABOUT = {
    Site.resid_pre: About("residual stream before the layer"),
    Site.resid_mid: About("residual stream between attention and MLP"),
    Site.resid_post: About("residual stream after the layer"),
    Site.attn_out: About("attention output"),
    Site.mlp_out: About("MLP output"),
    Site.head: About("head output", ReaderKind.Q),
    Site.q: About("queries of a head", ReaderKind.Q),
    Site.k: About("keys of a head", ReaderKind.K),
    Site.v: About("values of a head", ReaderKind.V),
    Site.pattern: About("attention pattern of a head", ReaderKind.Q),
}
OF_A_LAYER = tuple(site for site, about in ABOUT.items() if about.slot is None)
OF_HEADS = tuple(site for site, about in ABOUT.items() if about.slot is not None)
USUAL = (Site.resid_pre, Site.attn_out, Site.mlp_out, *OF_HEADS)
TRACED = (Site.resid_post, Site.mlp_out, Site.attn_out)  # by Meng et al.
ADDED = (Site.attn_out, Site.mlp_out)  # to the residual stream: several layers of these can be patched together


def units(site: Site, anatomy: Anatomy) -> list[str]:
    """What of a layer can be patched by itself: the whole layer, called nothing, or its heads; of keys and values under
    grouped-query attention, those that several heads share."""
    slot = ABOUT[site].slot
    if slot is None:
        return [""]
    if anatomy.grouped and slot is not ReaderKind.Q:
        return [f"kv{head}" for head in range(anatomy.n_kv_heads)]
    return [f"h{head}" for head in range(anatomy.n_heads)]


def usable(
    wanted: Sequence[Site] | None, usual: Sequence[Site], anatomy: Anatomy, no_patterns: str = ""
) -> tuple[Site, ...]:
    """The sites to patch: those `wanted`, else the `usual` ones that a model has; `no_patterns`: why patterns cannot be
    patched, if that is so. Raises InputError for one that it does not have."""
    missing = dict[Site, str]()
    if anatomy.attn_only:
        missing |= dict.fromkeys((Site.mlp_out, Site.resid_mid), "the model has no MLPs")
    elif anatomy.parallel:
        missing[Site.resid_mid] = "attention and MLP of this model read the same residual stream: take resid_pre"
    if no_patterns:
        missing[Site.pattern] = f"{no_patterns}: take q and k"
    for site in wanted or ():
        if site in missing:
            raise InputError(f"{site} cannot be patched: {missing[site]}")
    return tuple(site for site in wanted or usual if site not in missing)
