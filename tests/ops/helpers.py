"""What every op's test asks for: one call each, the same for all ops."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
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
    """Equal bits in every run, on one thread and on two."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = function(*arguments)
        for run in range(runs):
            torch.set_num_threads(1 + run % 2)
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
