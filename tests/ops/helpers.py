"""What every op's test asks for: one call each, the same for all ops."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from host_cuda import library
from host_cuda.compiling import ISA_FLAGS
from torch import Tensor

Op = Callable[..., Any]


def tensors(result: Any) -> list[Tensor]:
    """The tensors of an op's result, whether it gives one or several."""
    return [result] if isinstance(result, Tensor) else list(result)


def assert_equal(first: Any, second: Any) -> None:
    """Same types, same shapes, same bits."""
    for a, b in zip(tensors(first), tensors(second), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def check_registration(op: Op, arguments: Sequence[Any]) -> None:
    """Schema, fake kernel, autograd registration and AOT dispatch (`torch.library.opcheck`)."""
    torch.library.opcheck(op, tuple(arguments))


def check_compiles(function: Op, arguments: Sequence[Any]) -> None:
    """One graph without a break, and the results of the plain call."""
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    assert_equal(compiled(*arguments), function(*arguments))


def check_deterministic(function: Op, arguments: Sequence[Any], runs: int = 20) -> None:
    """Equal bits in every run, on one, two and eight threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = function(*arguments)
        for run in range(runs):
            torch.set_num_threads((1, 2, 8)[run % 3])
            assert_equal(function(*arguments), expected)
    finally:
        torch.set_num_threads(before)


def run_python(code: str, **environment: str) -> str:
    """Run a script in a fresh interpreter, which chooses its kernels anew; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_host_cuda(name: str, arguments: Sequence[Any], tolerance: float = 0.0) -> None:
    """The CUDA kernel, run on the host, gives what `torch.ops.pyvqa.<name>` gives.

    `tolerance` is relative to the largest value; 0 asks for equal bits.
    """
    expected = tensors(getattr(torch.ops.pyvqa, name)(*arguments))
    found = tensors(getattr(library.load(), name)(*arguments))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        largest = float(b.abs().max()) if tolerance and b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * largest, equal_nan=True)


def check_instruction_sets(code: str) -> None:
    """`code`, run once for each instruction set of this CPU, prints the same.

    It should end by printing a digest of its results (`helpers.digest`).
    """
    printed = {isa: run_python(code, PYVQA_ISA=isa) for isa in ISA_FLAGS}
    assert all(printed.values())
    assert len(set(printed.values())) == 1, printed


def digest(*results: Any) -> str:
    """A short name for the exact bits of some results."""
    state = hashlib.sha256()
    for result in results:
        for tensor in tensors(result):
            whole = tensor.detach().contiguous()
            state.update(f"{whole.dtype}{tuple(whole.shape)}".encode())
            whole = whole.reshape(-1)
            state.update(whole.view(torch.uint8).numpy().tobytes() if whole.numel() else b"")
    return state.hexdigest()[:16]


def check_gradients(function: Op, arguments: Sequence[Any]) -> None:
    """The gradients of float64 inputs against finite differences."""
    assert torch.autograd.gradcheck(function, tuple(arguments), fast_mode=False)


def strided(tensor: Tensor) -> Tensor:
    """The same values behind other strides: every second element along every dimension."""
    wide = tensor.new_empty([2 * n for n in tensor.shape])
    view = wide[tuple(slice(None, None, 2) for _ in tensor.shape)]
    view.copy_(tensor)
    return view.requires_grad_(tensor.requires_grad)
