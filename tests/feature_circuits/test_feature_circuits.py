"""Runs with ablated features against plain hooks; effects against finite differences and single runs; edges against the
effects that they sum to."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import boot, random_rows
from test_quality import as_dictionary, identity_sae

from acdc.dictionaries.dictionary import Activation, ActivationKind, Features
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.run import SiteRun
from acdc.dictionaries.tensors import Held
from acdc.errors import InputError, NothingToFind
from acdc.feature_circuits.circuits import Errors
from acdc.feature_circuits.discover import FeatureSettings, discover_features
from acdc.feature_circuits.edges import LOGITS, node_edges
from acdc.feature_circuits.effects import EffectMethod, active_nodes, node_effects, ranked
from acdc.feature_circuits.nodes import FeatureNode, Removed
from acdc.feature_circuits.runs import FeatureAblation, FeatureRuns
from acdc.task.metrics import METRICS
from acdc.task.spans import Spans

LOGIT_DIFF = METRICS.find("logit_diff")
SIZE = 24


def transcoders(layers=2, seed=0, writes=Site.mlp_out, **changes):
    """Random transcoders, of which a few features are active at a token."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    usual = {"activation": Activation(ActivationKind.topk, k=5)}
    return as_dictionary(
        *(
            Features(
                Hook(layer, Site.mlp_in),
                (Hook(layer, writes),),
                Held(draw(SIZE, 16)),
                draw(SIZE),
                (Held(0.3 * draw(SIZE, 16)),),
                draw(16),
                **(usual | changes),
            )  # fmt: skip
            for layer in range(layers)
        )
    )


@pytest.fixture(scope="module")
def gpt2():
    return boot("gpt2", 2, 0)


TASK = random_rows([6, 9, 9, 7])


def runs(model, dictionary, ablation=FeatureAblation.resample, task=TASK):
    return FeatureRuns(model, dictionary, task, range(len(task.rows)), LOGIT_DIFF, ablation)


def module_values(model, tokens, edits=None):
    """(what MLPs read, what they write, logits) by hooks of PyTorch, with what they write replaced."""
    reads, writes, handles = [], [], []
    for layer, block in enumerate(model.bridge.blocks):
        module = block.mlp.original_component

        def hook(m, given, out, layer=layer):
            reads.append(given[0][0])
            out = out if edits is None else edits(layer, given[0][0], out[0])[None]
            writes.append(out[0])
            return out

        handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        logits = model.bridge(torch.tensor([tokens]))[0]
    for handle in handles:
        handle.remove()
    return reads, writes, logits


@pytest.mark.parametrize("ablation", FeatureAblation)
@pytest.mark.parametrize("errors", [False, True], ids=["kept", "removed"])
def test_runs_are_those_of_plain_hooks(gpt2, ablation, errors):
    dictionary = transcoders()
    nodes = [
        FeatureNode(Hook(0, Site.mlp_in), 3),
        FeatureNode(Hook(1, Site.mlp_in), 7),
        FeatureNode(Hook(1, Site.mlp_in), 8),
    ]
    found = runs(gpt2, dictionary, ablation).measure([Removed.all_but(nodes, dictionary, errors)])[0, 0]
    sets = dictionary.sets

    def plain(tokens):
        reads, writes, _ = module_values(gpt2, tokens)
        acts = [one.encode(x) for one, x in zip(sets, reads, strict=True)]
        left = [y - one.decode(a, x) for one, a, x, y in zip(sets, acts, reads, writes, strict=True)]
        return acts, left

    cleans = [plain(row.clean) for row in TASK.rows]
    for number, row in enumerate(TASK.rows):
        if ablation is FeatureAblation.resample:
            values, others = plain(row.corrupted)
        elif ablation is FeatureAblation.mean:
            values = [torch.cat([clean[0][layer][1:] for clean in cleans]).mean(0) for layer in range(2)]
            others = [torch.cat([clean[1][layer][1:] for clean in cleans]).mean(0) for layer in range(2)]
        else:
            values, others = [torch.zeros(SIZE).double()] * 2, [torch.zeros(16).double()] * 2

        def edit(layer, x, y, values=values, others=others):
            one = sets[layer]
            own = one.encode(x)
            left = y - one.decode(own, x)
            kept = [node.index for node in nodes if node.hook.layer == layer]
            acts = values[layer].expand_as(own).clone()
            acts[:, kept] = own[:, kept]
            new = one.decode(acts, x) + (others[layer] if errors else left)
            return torch.cat([y[:1], new.expand_as(y)[1:]])

        logits = module_values(gpt2, row.clean, edit)[2][row.answer_position]
        expected = logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean()
        assert found[number] == pytest.approx(float(expected), rel=1e-9, abs=1e-9)


def test_nothing_ablated_is_the_model(gpt2):
    dictionary = transcoders()
    one = runs(gpt2, dictionary)
    assert one.measure([Removed.nothing(dictionary)])[0].mean() == pytest.approx(one.full(), rel=1e-12)


DICTIONARIES = {
    "transcoders": transcoders(),
    "jumprelu": transcoders(
        activation=Activation(ActivationKind.jumprelu, threshold=torch.full((SIZE,), 0.5).double())
    ),
    "residual": as_dictionary(*(identity_sae(Hook(layer, Site.resid_mid)) for layer in range(2))),
}


@pytest.mark.parametrize("name", DICTIONARIES)
def test_attributed_effects_are_slopes(gpt2, name):
    """Finite differences of the metric along each node's change."""
    dictionary = DICTIONARIES[name]
    one = runs(gpt2, dictionary)
    effects = node_effects(one, EffectMethod.attrib)
    chosen = ranked(effects)[:6] + [node for node in effects if node.is_error]
    step = 1e-6
    for node in chosen:
        slopes = []
        for sign in (1, -1):
            total = 0.0
            for place, batch in enumerate(one.batches):
                clean, ablated, there = one.clean(batch), one.ablated(place), one.there(batch)[..., None]
                if node.is_error:
                    target, change = node.hook, ablated.errors[node.hook] - clean.errors[node.hook]
                else:
                    features = dictionary.at(node.hook)
                    by = (ablated.features[node.hook] - clean.features[node.hook])[..., node.index, None]
                    target, change = features.writes[0], by * features.decoders[0].values[node.index]
                moved = torch.where(there, change, 0.0) * step * sign
                run = SiteRun(gpt2, {target: lambda x, moved=moved: x + moved})
                logits = run.logits(batch.tokens, batch.positions)
                total += float(LOGIT_DIFF.per_row(logits, batch.answers).sum())
            slopes.append(total / len(TASK.rows))
        assert effects[node] == pytest.approx((slopes[0] - slopes[1]) / (2 * step), rel=1e-4, abs=1e-6), node.id


def test_exact_effects_are_those_of_single_runs(gpt2):
    dictionary = transcoders()
    one = runs(gpt2, dictionary)
    effects = node_effects(one, EffectMethod.exact)
    for node in list(effects)[::9]:
        alone = one.measure([Removed.these([node], dictionary)])[0].mean()
        assert effects[node] == pytest.approx(alone - one.full(), abs=1e-12)
    assert {node.is_error for node in effects} == {True, False}


def test_integrated_gradients_sum_to_the_whole_change(gpt2):
    """Of the features and the error of one target, ablated together."""
    dictionary = transcoders(layers=2)
    one = runs(gpt2, dictionary)
    effects = node_effects(one, EffectMethod.ig, steps=60)
    for layer, target in enumerate(dictionary.targets):
        hook = Hook(layer, Site.mlp_in)
        nodes = [node for node in effects if node.hook in (hook, target)]
        whole = one.measure([Removed.these(nodes, dictionary)])[0].mean() - one.full()
        assert sum(effects[node] for node in nodes) == pytest.approx(whole, rel=2e-3, abs=1e-4)


def test_edges_sum_to_effects(gpt2):
    """Where nothing is left over: what leaves a node for all others and the logits is its effect."""
    dictionary = as_dictionary(*(identity_sae(Hook(layer, Site.mlp_added)) for layer in range(2)))
    one = runs(gpt2, dictionary)
    effects = node_effects(one, EffectMethod.attrib)
    nodes = [node for node in effects if not node.is_error]
    edges = node_edges(one, nodes)
    for node in nodes:
        leaving = sum(value for (source, _), value in edges.items() if source == node.id)
        assert leaving == pytest.approx(effects[node], rel=1e-8, abs=1e-10), node.id
    assert all(target == LOGITS or target.startswith("mlp_added1") for _, target in edges)
    assert sum(target != LOGITS for _, target in edges) > 20


def spans_of(row):
    """Two named spans, one of which several rows have at other positions; the rest is the third place."""
    length = len(row.clean)
    return Spans.of({"early": (1, 3), "late": (length - 2, length)})


PLACED = type(TASK)("placed", tuple(replace(row, spans=spans_of(row)) for row in TASK.rows), TASK.metric)
LEVEL = type(TASK)("level", tuple(row for row in TASK.rows if len(row.clean) == 9), TASK.metric)


def runs_at_places(model, dictionary, ablation=FeatureAblation.resample, task=PLACED):
    return FeatureRuns(model, dictionary, task, range(len(task.rows)), LOGIT_DIFF, ablation, by_position=True)


@pytest.mark.parametrize("ablation", FeatureAblation)
def test_runs_at_places_are_those_of_plain_hooks(gpt2, ablation):
    """One feature and one error are ablated, at the tokens of a span alone."""
    dictionary = transcoders()
    error, one = FeatureNode(Hook(1, Site.mlp_out), -1, "early"), runs_at_places(gpt2, dictionary, ablation)
    feature = max(
        (node for node in active_nodes(one) if node.place == "late" and node.hook == Hook(0, Site.mlp_in)),
        key=lambda node: abs(one.measure([one.without([node])])[0].mean() - one.full()),
    )
    found = one.measure([one.without([feature, error])])[0, 0]
    means = runs(gpt2, dictionary, FeatureAblation.mean).means
    for number, row in enumerate(PLACED.rows):
        writes = module_values(gpt2, row.clean)[1]
        if ablation is FeatureAblation.resample:
            others, outs, _ = module_values(gpt2, row.corrupted)
            become = [features.encode(x) for features, x in zip(dictionary.sets, others, strict=True)]
            left = outs[1] - dictionary.sets[1].decode(become[1], others[1])
            to = become[0][:, feature.index]
        elif ablation is FeatureAblation.mean:
            to = means.features[Hook(0, Site.mlp_in)][feature.index].expand(len(row.clean))
            left = means.errors[Hook(1, Site.mlp_out)].expand_as(writes[1])
        else:
            to, left = torch.zeros(len(row.clean)).double(), torch.zeros_like(writes[1])

        def edit(layer, x, y, to=to, left=left, row=row):
            features, new = dictionary.sets[layer], y.clone()
            own = features.encode(x)
            if layer == 0:
                late = slice(len(row.clean) - 2, len(row.clean))
                change = (to - own[:, feature.index])[:, None] * features.decoders[0].values[feature.index]
                new[late] += change[late]
            else:
                new[1:3] += (left - (y - features.decode(own, x)))[1:3]
            return new

        logits = module_values(gpt2, row.clean, edit)[2][row.answer_position]
        expected = logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean()
        assert found[number] == pytest.approx(float(expected), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("task", [PLACED, LEVEL], ids=["spans", "positions"])
@pytest.mark.parametrize("method", [EffectMethod.attrib, EffectMethod.ig])
def test_effects_at_places_sum_to_those_at_all_tokens(gpt2, task, method):
    dictionary = transcoders()
    together = node_effects(runs(gpt2, dictionary, task=task), method)
    apart = node_effects(runs_at_places(gpt2, dictionary, task=task), method)
    for node, effect in together.items():
        own = [value for other, value in apart.items() if (other.hook, other.index) == (node.hook, node.index)]
        assert sum(own) == pytest.approx(effect, rel=1e-9, abs=1e-12), node.id
    assert len({node.place for node in apart if not node.is_error}) > 2
    assert not any(node.place == "0" and not node.is_error for node in apart)  # first tokens are never ablated


def test_edges_at_places(gpt2):
    """Those between places sum to those at all tokens, and what leaves a node is its effect."""
    dictionary = as_dictionary(*(identity_sae(Hook(layer, Site.mlp_added)) for layer in range(2)))
    one, whole = runs_at_places(gpt2, dictionary), runs(gpt2, dictionary, task=PLACED)
    effects = node_effects(one, EffectMethod.attrib)
    nodes = [node for node in effects if not node.is_error]
    edges = node_edges(one, nodes)
    for node in nodes:
        leaving = sum(value for (source, _), value in edges.items() if source == node.id)
        assert leaving == pytest.approx(effects[node], rel=1e-8, abs=1e-10), node.id
    summed = {}
    for (source, target), value in edges.items():
        pair = source.partition("@")[0], target.partition("@")[0]
        summed[pair] = summed.get(pair, 0.0) + value
    together = node_edges(whole, [node for node in node_effects(whole, EffectMethod.attrib) if not node.is_error])
    for pair in summed.keys() | together.keys():
        assert summed.get(pair, 0.0) == pytest.approx(together.get(pair, 0.0), rel=1e-8, abs=1e-10), pair
    crossing = [pair for pair in edges if pair[1] != LOGITS and pair[0].split("@")[1] != pair[1].split("@")[1]]
    assert crossing  # attention carries some from one span to another


def test_names_of_nodes():
    dictionary = transcoders()
    for text, node in (
        ("m1.f3", FeatureNode(Hook(1, Site.mlp_in), 3)),
        ("m0.error", FeatureNode(Hook(0, Site.mlp_out), -1)),
        ("mlp_in1.f3", FeatureNode(Hook(1, Site.mlp_in), 3)),
        ("m1.f3@S2", FeatureNode(Hook(1, Site.mlp_in), 3, "S2")),
        ("m0.error@rest", FeatureNode(Hook(0, Site.mlp_out), -1, "rest")),
    ):
        assert FeatureNode.parse(text, dictionary) == node
        assert FeatureNode.parse(node.id, dictionary) == node
    with pytest.raises(InputError, match="m1.f3@S2: there is no such place"):
        Removed.these([FeatureNode(Hook(1, Site.mlp_in), 3, "S2")], dictionary)
    for text, says in (
        ("m1.n3", "is no feature"),
        ("m1.f99", "there are features 0 to 23"),
        ("m9.f1", "no features in layer 9"),
    ):
        with pytest.raises(InputError, match=says):
            FeatureNode.parse(text, dictionary)


@pytest.fixture(scope="module")
def small():
    """The bundled model and dictionary in float32, as the command line has them."""
    from acdc.dictionaries.open import open_for
    from acdc.model.load import load_model
    from acdc.task.load import load_task

    model = load_model("trio")
    return model, open_for("trio-transcoders", model), load_task("greater_than", model)


def test_a_circuit_of_trio(small):
    """Faithful on the rows that it was chosen on, smallest among the sizes that are, and the same again."""
    model, dictionary, whole = small
    task = type(whole)("half", whole.rows[:64], whole.metric)
    settings = FeatureSettings(limit=24, errors=Errors.remove)
    found = discover_features(model, dictionary, task, settings)
    assert found.discovery.faithfulness >= 0.9
    assert len(found.nodes) < 0.1 * found.candidates
    sizes = [count for count, _ in found.curve]
    assert sizes == sorted(sizes) and len(found.nodes) in sizes
    assert discover_features(model, dictionary, task, settings) == found
    threshold = abs(found.nodes[4][1])
    by_threshold = discover_features(model, dictionary, task, FeatureSettings(limit=24, threshold=threshold))
    strong = [node for node, effect in found.effects.items() if abs(effect) >= threshold and not node.is_error]
    assert {node for node, _ in by_threshold.nodes} == set(strong)


@pytest.mark.parametrize("errors", Errors)
def test_errors(small, errors):
    """Kept ones are in no list and never ablated, ranked ones are nodes."""
    model, dictionary, task = small
    few = type(task)("few", task.rows[:12], task.metric)
    settings = FeatureSettings(EffectMethod.attrib, limit=8, nodes=2000, errors=errors)
    found = discover_features(model, dictionary, few, settings)
    assert any(node.is_error for node, _ in found.nodes) == (errors is Errors.rank)
    assert found.candidates == len(found.nodes)
    if errors is not Errors.remove:
        assert found.discovery.faithfulness == pytest.approx(1.0, abs=1e-4)
    else:
        assert found.discovery.faithfulness < 1 - 1e-4


def test_what_cannot_be_searched(gpt2, small):
    with pytest.raises(InputError, match="--faithfulness 2 must be above 0"):
        discover_features(gpt2, transcoders(), TASK, FeatureSettings(faithfulness=2))
    with pytest.raises(InputError, match="the gradient of 'kl' vanishes on the full model"):
        node_effects(FeatureRuns(gpt2, transcoders(), TASK, range(4), METRICS.find("kl")), EffectMethod.attrib)
    silent = transcoders(activation=Activation(ActivationKind.jumprelu, threshold=torch.full((SIZE,), 1e9).double()))
    with pytest.raises(NothingToFind, match="with and without all features"):
        discover_features(gpt2, silent, TASK, FeatureSettings(limit=2))
    with pytest.raises(InputError, match="give only one of --nodes and --threshold"):
        discover_features(gpt2, transcoders(), TASK, FeatureSettings(nodes=3, threshold=0.1))
    with pytest.raises(InputError, match="rows of one length, or spans"):
        runs_at_places(gpt2, transcoders(), task=TASK)
    assert np.isfinite(small[1].size)
