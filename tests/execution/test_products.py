"""Products through oneDNN against PyTorch's own, whatever the layout of the weight."""

import pytest
import torch

from acdc.errors import InputError
from acdc.execution import products
from acdc.execution.products import packed, product

ROWS, WIDTH, OUT, HEADS = 128, 256, 192, 3  # large enough to go through oneDNN


@pytest.fixture(autouse=True)
def through_onednn(monkeypatch):
    if products.ONEDNN is None:
        pytest.skip("this PyTorch comes without oneDNN")
    monkeypatch.setattr(products, "LINEAR", products.ONEDNN)  # on Intel's processors as well


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LAYOUTS = {
    "rows": lambda w: w,
    "columns": lambda w: w.T.contiguous().T,
    "a slice of a wider one": lambda w: torch.cat([w, w], dim=1)[:, : w.shape[1]],
}


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, ROWS])
def test_values_and_gradients(layout, biased, rows):
    weight = LAYOUTS[layout](random(WIDTH, OUT, seed=1))
    bias = random(OUT, seed=2) if biased else None
    results = []
    for multiply in (product, lambda x, w, b: x @ w if b is None else x @ w + b):
        x = random(2, rows, WIDTH).requires_grad_()
        out = multiply(x, weight, bias)
        out.square().sum().backward()
        results.append((out.detach(), x.grad))
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_large_products_do_go_through_onednn(monkeypatch):
    calls = []
    through = products.LINEAR
    monkeypatch.setattr(products, "LINEAR", lambda *given: calls.append(1) or through(*given))
    product(random(ROWS, WIDTH), random(WIDTH, OUT))
    assert len(calls) == 1
    product(random(1, WIDTH), random(WIDTH, OUT))  # too small
    product(random(ROWS, WIDTH).double(), random(WIDTH, OUT).double())
    product(random(ROWS, WIDTH), LAYOUTS["a slice of a wider one"](random(WIDTH, OUT)))
    assert len(calls) == 1


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("as_packed", [True, False])
def test_one_product_per_matrix(shared, as_packed):
    fused = random(WIDTH, HEADS * OUT, seed=1)  # as GPT-2 stores the heads of a layer
    weights = fused.view(WIDTH, HEADS, OUT).transpose(0, 1)
    x = random(1 if shared else HEADS, ROWS, WIDTH)
    found = products.products(x, packed(weights) if as_packed else weights)
    expected = torch.einsum("hmi,hio->hmo", x.expand(HEADS, -1, -1), weights)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_packing_copies_only_what_it_must():
    columns = random(HEADS, OUT, WIDTH).transpose(1, 2)
    assert packed(columns).data_ptr() == columns.data_ptr()
    rows = random(HEADS, WIDTH, OUT)
    assert packed(rows).data_ptr() == rows.data_ptr()


@pytest.mark.parametrize("maker, kind", [("AuthenticAMD", "onednn"), ("GenuineIntel", "default")])
def test_the_maker_of_the_processor_decides(monkeypatch, maker, kind):
    monkeypatch.delenv("ACDC_PRODUCTS", raising=False)
    monkeypatch.setattr(products.Path, "read_text", lambda *_, **__: f"vendor_id : {maker}")
    monkeypatch.setattr(products.Path, "is_file", lambda _: True)
    assert products._kind() == kind


@pytest.mark.parametrize("wish", ["onednn", "default"])
def test_a_wish_overrides_the_maker(monkeypatch, wish):
    monkeypatch.setenv("ACDC_PRODUCTS", wish)
    assert products._kind() == wish


def test_another_wish_is_refused(monkeypatch):
    monkeypatch.setenv("ACDC_PRODUCTS", "mkl")
    with pytest.raises(InputError, match="ACDC_PRODUCTS=mkl: must be onednn or default"):
        products._kind()
