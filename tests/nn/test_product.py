"""Matrix products and the linear layer against torch's own, on every path they may take."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pyvqa.nn.product import linear, prepare, product

# Below and above the sizes at which another kernel takes over; rows that are rounded up or not.
SHAPES = [
    (0, 4, 3),
    (1, 1, 1),
    (7, 5, 3),
    (64, 512, 256),
    (61, 512, 256),
    (130, 96, 512),
    (5, 2048, 512),
]


@pytest.mark.parametrize(("rows", "columns", "inner"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_product(rows, columns, inner, dtype):
    torch.manual_seed(0)
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    exact = a.double() @ b.double().t()
    close = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 2e-2}[dtype]
    for weight in (b, prepare(b, max(1, rows))):
        result = product(a, weight)
        assert result.dtype == dtype
        error = (result.double() - exact).abs()
        assert (error <= close * (1 + a.double().abs() @ b.double().abs().t())).all()


def test_product_of_transposed_operands():
    a, b = torch.randn(512, 300), torch.randn(512, 2048)
    torch.testing.assert_close(product(a.t(), b.t()), a.t() @ b, rtol=1e-4, atol=1e-3)


def test_prepared_weights_serve_any_number_of_rows():
    b = torch.randn(1024, 512)
    ready = prepare(b, 64)
    for rows in (1, 8, 63, 64, 65, 200):
        a = torch.randn(rows, 512)
        torch.testing.assert_close(product(a, ready), a @ b.t(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 2), (70, 256, 512)])
def test_linear_and_its_gradients(bias, shape):
    rows, outputs, inputs = shape
    torch.manual_seed(0)
    tensors = [torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)]
    tensors = [t.requires_grad_() for t in tensors[: 3 if bias else 2]]
    y, expected = linear(*tensors), F.linear(*tensors)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-4)
    upstream = torch.randn_like(y)
    ours = torch.autograd.grad(y, tensors, upstream)
    theirs = torch.autograd.grad(expected, tensors, upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_linear_in_double_passes_gradcheck():
    tensors = [
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 4), (2, 4), (2,))
    ]
    assert torch.autograd.gradcheck(linear, tensors)


def test_autocast_multiplies_in_bfloat16_and_keeps_float32():
    x, weight = torch.randn(40, 64), torch.randn(32, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = linear(x, weight)
    assert y.dtype == torch.float32
    rounded = x.bfloat16().float() @ weight.detach().bfloat16().float().t()
    torch.testing.assert_close(y, rounded, rtol=1e-2, atol=5e-2)
    y.sum().backward()
    assert weight.grad.dtype == torch.float32


def test_weights_that_need_no_gradient_get_none():
    x, weight = torch.randn(3, 4, requires_grad=True), torch.randn(2, 4)
    linear(x, weight).sum().backward()
    assert x.grad is not None
    assert weight.grad is None
