"""Patched runs against brute force: raw hooks on the plain Hugging Face model, one position at a time."""

import copy
from contextlib import ExitStack

import pytest
import torch
from brute_force import BruteForce, float64_throughout, names_of
from families import VOCABULARY, boot, hugging_face
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

from acdc.errors import InputError
from acdc.graph import Anatomy
from acdc.model.functional import FunctionalComponents
from acdc.model.load import read_anatomy
from acdc.model.replay import ReplayComponents
from acdc.model.weights import read_weights
from acdc.options import Directions
from acdc.patching.patch import patch
from acdc.patching.patched_runs import PatchedRuns, run
from acdc.patching.settings import PatchSettings
from acdc.patching.sites import OF_HEADS, Site, units, usable
from acdc.task.rows import Row, Task
from acdc.task.spans import Spans

ROWS, LENGTH = 2, 4
FAMILIES = ["gpt2", "llama", "qwen3", "gpt-neox-parallel", "gemma2", "mixtral"]
EVERY = tuple(Site)


class Hooks(BruteForce):
    """Knows where each site of a family is, and replaces it at some positions."""

    def places(self, layer: int, site: Site):
        """(module, whether its input is meant, columns of each unit or None)."""
        names, block, width = self.names, self.blocks[layer], self.d_head
        attention = names.attention
        if site is Site.resid_pre:
            return block, True, None
        if site is Site.resid_post:
            return block, False, None
        if site is Site.resid_mid:
            return self.part(layer, names.norm2), True, None
        if site is Site.attn_out:
            return self.part(layer, names.post1 or f"{attention}.{names.out}"), False, None
        if site is Site.mlp_out:
            return self.part(layer, names.post2 or "mlp"), False, None
        if site is Site.head:
            columns = lambda unit: slice(unit * width, (unit + 1) * width)  # noqa: E731
            return self.part(layer, f"{attention}.{names.out}"), True, columns
        projection = self.part(layer, f"{attention}.{getattr(names, site.value)}")
        return projection, False, lambda unit: self._columns(site.value, unit)

    def hooked(self, layer: int, site: Site, change: "Change"):
        """A handle of what applies `change` to a site's value."""
        module, is_input, columns = self.places(layer, site)

        def changed(value):
            part = value if columns is None else value[..., columns(change.unit)]
            new = change(part)
            if columns is None:
                return new
            value = value.clone()
            value[..., columns(change.unit)] = new
            return value

        def before(module, args, kwargs):
            if args:
                return (changed(args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": changed(kwargs["hidden_states"])}

        def after(module, args, output):
            return changed(output) if isinstance(output, torch.Tensor) else (changed(output[0]), *output[1:])

        if is_input:
            return module.register_forward_pre_hook(before, with_kwargs=True)
        return module.register_forward_hook(after)


class Change:
    """Remembers what it sees, or replaces it by something at some positions."""

    def __init__(self, unit: int, source=None, mask=None):
        self.unit, self.source, self.mask, self.seen = unit, source, mask, None

    def __call__(self, value):
        self.seen = value.clone()
        if self.source is None:
            return value
        return torch.where(self.mask[..., None], self.source, value)


class PatternHook:
    """Exchanges one head's rows of the attention pattern, where eager attention computes its softmax."""

    def __init__(self, layer: int, unit: int, source=None, mask=None):
        self.layer, self.unit, self.source, self.mask, self.seen, self.calls = layer, unit, source, mask, None, 0

    def __enter__(self):
        self.softmax = torch.nn.functional.softmax
        torch.nn.functional.softmax = self.run
        return self

    def run(self, scores, dim=None, **more):
        found = self.softmax(scores, dim=dim, **more)
        if found.dim() != 4:  # routing of experts
            return found
        self.calls += 1
        if self.calls - 1 == self.layer:
            self.seen = found.clone()
            if self.source is not None:
                found[:, self.unit] = torch.where(self.mask[..., None], self.source[:, self.unit], found[:, self.unit])
        return found

    def __exit__(self, *error):
        torch.nn.functional.softmax = self.softmax


def build(family: str, replay: bool = False):
    plain = hugging_face(family)
    plain.config.use_cache = False
    bridge = build_bridge_from_module(
        copy.deepcopy(plain), type(plain).__name__, hf_config=plain.config, dtype=torch.float64
    )
    bridge.original_model.requires_grad_(False)
    anatomy = read_anatomy(bridge)
    made = ReplayComponents(bridge, anatomy) if replay else FunctionalComponents(read_weights(bridge), anatomy)
    return Hooks(plain, names_of(family), anatomy.n_heads, anatomy.d_head), made


def prompts():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=generator) for _ in range(2)]


def expected(oracle: Hooks, base, source, layers, site: Site, unit: int, mask) -> torch.Tensor:
    """Logits by brute force, of some layers patched together."""
    with ExitStack() as stack:
        if site is Site.pattern:
            with PatternHook(layers[0], unit) as watched:
                oracle.logits(source)
            stack.enter_context(PatternHook(layers[0], unit, watched.seen, mask))
            return oracle.logits(base)
        patches = {layer: Change(unit, value_of(oracle, source, layer, site, unit), mask) for layer in layers}
        if site is Site.resid_mid:  # no module has it: attention must add what makes it so
            site = Site.attn_out
            for layer, change in patches.items():
                change.source = change.source - value_of(oracle, base, layer, Site.resid_pre, unit)
        for layer, change in patches.items():
            stack.callback(oracle.hooked(layer, site, change).remove)
        return oracle.logits(base)


def value_of(oracle: Hooks, tokens, layer: int, site: Site, unit: int) -> torch.Tensor:
    change = Change(unit)
    handle = oracle.hooked(layer, site, change)
    oracle.logits(tokens)
    handle.remove()
    return change.seen


def check(oracle: Hooks, components, sites, window: int = 1, masks=None) -> dict[Site, float]:
    """Every cell of every map; the largest effect of each site."""
    (base, source), effects = prompts(), {}
    layers = components.anatomy.n_layers
    with float64_throughout(oracle.model), torch.no_grad():
        embedded = [components.embed(tokens).sum(0) for tokens in (base, source)]
        runs = PatchedRuns(components, *embedded, window)
        plain = oracle.logits(base)
        masks = masks or [torch.arange(LENGTH).expand(ROWS, -1) == place for place in range(LENGTH)]
        for site, found in runs.each(dict.fromkeys(sites, masks)):
            logits = components.unembed(found.final).unflatten(0, (len(found.cells), ROWS))
            first = max(0, found.layer - window // 2) if window > 1 else found.layer
            last = min(layers, found.layer + -(-window // 2)) if window > 1 else found.layer + 1
            for cell, got in zip(found.cells, logits, strict=True):
                wanted = expected(oracle, base, source, range(first, last), site, cell.unit, cell.mask)
                assert (got - wanted).abs().max() < 1e-10, (site, found.layer, cell)
                effect = (wanted - plain).abs().max().item()
                effects[site] = max(effects.get(site, 0.0), effect)
        ends = [components.unembed(run(components, one)) for one in embedded]
        assert (ends[0] - plain).abs().max() < 1e-10 and (ends[1] - oracle.logits(source)).abs().max() < 1e-10
    return effects


@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell_equals_brute_force(family):
    oracle, components = build(family)
    sites = usable(None, EVERY, components.anatomy)
    effects = check(oracle, components, sites)
    assert set(effects) == set(sites) and min(effects.values()) > 1e-3, effects


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_windows_of_layers_equal_brute_force(family):
    oracle, components = build(family)
    assert check(oracle, components, (Site.attn_out, Site.mlp_out), window=2)


def test_several_positions_are_patched_together():
    """Rows of one place may have other positions, or none."""
    oracle, components = build("llama")
    masks = [torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1]]).bool(), torch.tensor([[0] * 4, [0, 0, 1, 1]]).bool()]
    assert check(oracle, components, (Site.resid_mid, *OF_HEADS), masks=[*masks, torch.zeros(2, 4).bool()])


def test_by_the_models_own_modules():
    oracle, components = build("llama", replay=True)
    check(oracle, components, usable(None, EVERY, components.anatomy, "its own modules keep them"))


def test_what_a_model_lacks_is_refused():
    shape = {"n_layers": 1, "n_heads": 4, "d_model": 8, "d_head": 2, "d_vocab": 9, "d_vocab_out": 9, "n_ctx": 9}
    parallel, bare = (Anatomy(**shape, n_kv_heads=2, parallel=one, attn_only=not one) for one in (True, False))
    assert units(Site.k, parallel) == ["kv0", "kv1"] and len(units(Site.q, parallel)) == 4
    assert Site.resid_mid not in usable(None, EVERY, parallel)
    assert Site.mlp_out not in usable(None, EVERY, bare)
    for anatomy, site, message in (
        (parallel, Site.resid_mid, "take resid_pre"),
        (bare, Site.mlp_out, "no MLPs"),
        (bare, Site.pattern, "none: take q and k"),
    ):
        with pytest.raises(InputError, match=message):
            usable([site], EVERY, anatomy, "none" if site is Site.pattern else "")


PAIRED = (  # a clean and a corrupted prompt, the spans of both, and by hand the positions that stand for each other
    ((1, 2, 3, 4, 5, 6), (1, 7, 8, 9), {"a": (1, 4), "end": (5, 6)}, {"a": (1, 2), "end": (3, 4)}),
    {"noise": [[0], [1], [1], [1], [2], [3]], "denoise": [[0], [3], [4], [5]]},
)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_prompts_of_unequal_length_equal_brute_force(family):
    """By span, from each prompt into the other, and what they are normalised by."""
    (clean, corrupted, spans, theirs), stands_for = PAIRED
    row = Row("r", clean, corrupted, (3,), (4,), 5, None, Spans.of(spans), Spans.of(theirs))
    model, oracle = boot(family, 2, 0), build(family)[0]
    task, sites = Task("paired", (row,), "logit_diff"), [site for site in EVERY if site is not Site.pattern]

    def difference(logits) -> float:
        return float(logits[0, -1, 3] - logits[0, -1, 4])

    with float64_throughout(oracle.model):
        record = patch(model, task, PatchSettings(tuple(sites), Directions.both, heads_by_place=True, threads=1))
        ends = [difference(oracle.logits(torch.tensor([ids]))) for ids in (clean, corrupted)]
        assert abs(record.metric_clean - ends[0]) < 1e-10 and abs(record.metric_corrupted - ends[1]) < 1e-10
        for one in record.maps:
            base, source = (corrupted, clean) if one.direction == "denoise" else (clean, corrupted)
            places = [*(theirs if one.direction == "denoise" else spans).values()]
            inside = [{*range(*bounds)} for bounds in places]
            inside.append({*range(len(base))} - set().union(*inside))
            per_layer = len(one.rows) // 2
            for number, (values, (place, positions)) in enumerate(
                (row, column) for row in one.metric for column in enumerate(inside)
            ):
                layer, unit = divmod(number // len(inside), per_layer)
                mask = torch.tensor([[at in positions for at in range(len(base))]])
                site, tokens = Site(one.site), [torch.tensor([ids]) for ids in (base, source)]
                seen = value_of(oracle, tokens[1], layer, site, unit)
                seen = torch.stack([seen[0, at].mean(0) for at in stands_for[one.direction]])[None]
                change = Change(unit, seen, mask)
                if site is Site.resid_mid:
                    change.source = seen - value_of(oracle, tokens[0], layer, Site.resid_pre, unit)
                    site = Site.attn_out
                handle = oracle.hooked(layer, site, change)
                wanted = difference(oracle.logits(tokens[0]))
                handle.remove()
                assert abs(values[place] - wanted) < 1e-10, (one.site, one.direction, layer, unit, place)
