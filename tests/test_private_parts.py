"""What is private in other packages and used here: whether it is there still, and does what it is used for."""

import ast
import importlib
import importlib.metadata
import logging
from functools import cache
from pathlib import Path

import pytest
import torch

PACKAGE = Path(__file__).parent.parent / "acdc"

# Where each is used, and for what: no other file may.
USES = {
    "mkldnn._linear_pointwise": "execution/products.py",
    "torch._ops": "execution/dry_run.py",
    "torch._subclasses": "execution/dry_run.py",
    "_bridge_builder": "model/bridge_builder.py",
    "_private": "jobs/ray/internals.py",
    "_raylet": "jobs/ray/internals.py",
}


def moved(package: str, part: str, used: str) -> str:
    version = importlib.metadata.version(package)
    return f"{package} {version} moved or changed {part}: find what is in its place, in acdc/{used}"


@cache
def names(path: Path) -> set[str]:
    """Modules, attributes and strings of a file, in which a private part could be named."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=str(module)):
                found.add(module)
            case ast.Import(names=imported):
                found |= {one.name for one in imported}
            case ast.Attribute(attr=name):
                found.add(name)
            case ast.Constant(value=str(text)) if " " not in text:
                found.add(text)
    return found


def test_each_is_used_in_one_file():
    for part, place in USES.items():
        last = part.split("mkldnn.")[-1]
        using = {
            str(path.relative_to(PACKAGE))
            for path in PACKAGE.rglob("*.py")
            if any(name == last or name.startswith(last + ".") or f".{last}" in name for name in names(path))
        }
        assert using == {place}, f"{part} is used in {sorted(using)}, not in {place} alone"


def test_linear_pointwise_of_torch():
    """x @ weight.T + bias, as products use it; without it they would be the slower ones, and say nothing."""
    from acdc.execution.products import ONEDNN

    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch was built without oneDNN")
    message = moved("torch", "mkldnn._linear_pointwise", USES["mkldnn._linear_pointwise"])
    assert ONEDNN is not None, message
    x, weight, bias = torch.randn(7, 5), torch.randn(3, 5), torch.randn(3)
    try:
        found = ONEDNN(x, weight, bias, "none", [], "")
    except (TypeError, RuntimeError) as error:
        pytest.fail(f"{message} ({error})")
    torch.testing.assert_close(found, x @ weight.T + bias)


def test_tensors_without_contents_of_torch():
    """They keep shape and device through an operation, and compute nothing."""
    try:
        from torch._ops import OpOverload
        from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    except ImportError as error:
        pytest.fail(f"{moved('torch', str(error.name), USES['torch._subclasses'])} ({error})")
    with FakeTensorMode():
        made = torch.empty(4, 10**9, device="cuda:1") if torch.cuda.device_count() > 1 else torch.empty(4, 10**9)
        product = made @ torch.empty(10**9, 3, device=made.device)
    assert isinstance(product, FakeTensor) and product.shape == (4, 3) and product.device == made.device
    assert isinstance(torch.ops.aten.mm.default, OpOverload), moved("torch", "_ops.OpOverload", USES["torch._ops"])


def test_bridge_builder_of_transformer_lens():
    from transformers import GPT2Config, GPT2LMHeadModel

    from acdc.model.bridge_builder import build_bridge, describe_bridge

    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11, n_positions=5)
    try:
        described = describe_bridge(config, "GPT2LMHeadModel", torch.float32)
        bridge = build_bridge(
            GPT2LMHeadModel(config).eval(), "GPT2LMHeadModel", hf_config=config, dtype=torch.float32, device="cpu"
        )
    except (ImportError, TypeError) as error:
        pytest.fail(f"{moved('transformer-lens', '_bridge_builder', USES['_bridge_builder'])} ({error})")
    assert (
        (described.n_layers, described.n_heads, described.d_model)
        == (1, 2, 8)
        == (
            bridge.cfg.n_layers,
            bridge.cfg.n_heads,
            bridge.cfg.d_model,
        )
    )
    tokens = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(bridge(tokens), bridge.original_model(tokens).logits)


def test_settings_of_ray():
    ray = pytest.importorskip("ray")
    from acdc.jobs.ray.internals import CHATTY, listens_on_the_network, read_settings_again

    try:
        assert listens_on_the_network(ray) in (True, False)
    except AttributeError as error:
        pytest.fail(f"{moved('ray', '_private.ray_constants.ENABLE_RAY_CLUSTER', USES['_private'])} ({error})")
    try:
        read_settings_again(ray)
    except (AttributeError, TypeError) as error:
        pytest.fail(f"{moved('ray', '_raylet.Config.initialize', USES['_raylet'])} ({error})")
    for name in CHATTY:
        importlib.import_module(name)
        existing = isinstance(logging.Logger.manager.loggerDict.get(name), logging.Logger)
        assert existing, moved("ray", f"the logger {name}", USES["_private"])
