"""Suppression of boxes on CUDA: the kernels on the host, and on a device where there is one."""

from __future__ import annotations

import pytest
import torch
from host_cuda import compiling, library
from host_cuda.compiling import CSRC, CUDA_ON_HOST, FAST, ROOT, SANITIZED, Unit, build, run
from torch import Tensor

from ops.helpers import assert_equal, check_host_cuda, run_python
from ops.test_nms import COUNTS, FIND_TESTS, draw, draw_idxs, make_strange
from pyvqa import ops

# ---- on the host


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 300])
def test_host_cuda_equals_the_cpu_kernel(count: int, dtype: torch.dtype) -> None:
    boxes, scores = (t.to(dtype) for t in draw(count, span=100))
    for strange in (False, True):
        if strange:
            make_strange(boxes, scores, count)
        for idxs in (None, draw_idxs(count)):
            for flags in ((False, False, False), (True, True, True)):
                check_host_cuda("nms", (boxes, scores, idxs, 0.5, *flags))
                check_host_cuda("nms_padded", (boxes, scores, idxs, 0.0, *flags))


@pytest.mark.parametrize("span", [200, 3000])
def test_host_cuda_carries_kept_boxes_from_block_to_block(span: float) -> None:
    boxes, scores = draw(8400, span=span)
    for idxs in (None, draw_idxs(8400) * 2**50):
        check_host_cuda("nms", (boxes, scores, idxs, 0.3, False, False, False))


_THREAD_ORDER = """
from ops.helpers import check_host_cuda
from ops.test_nms import draw, draw_idxs
for count, span in ((1, 9), (65, 20), (500, 60), (4500, 300)):
    for idxs in (None, draw_idxs(count)):
        check_host_cuda("nms", (*draw(count, span=span), idxs, 0.5, False, False, False))
print("equal")
"""


@pytest.mark.parametrize("order", ["backward", "1"])
def test_host_cuda_under_other_orders_of_threads(order: str) -> None:
    assert run_python(FIND_TESTS + _THREAD_ORDER, PYVQA_HOST_CUDA_ORDER=order) == "equal\n"


@pytest.mark.parametrize("order", ["forward", "3"])
@pytest.mark.parametrize("sanitized", [False, True], ids=["plain", "sanitized"])
def test_host_cuda_without_torch(sanitized: bool, order: str) -> None:
    """In memory of exactly the size needed, under the sanitizers."""
    if sanitized:
        compiling.need_sanitizers()
    units = [Unit(ROOT / "tests/ops/nms_cuda_driver.cpp"), Unit(CSRC / "nms/nms_cuda.cu")]
    flags = (*(SANITIZED if sanitized else FAST), "-ffp-contract=off", *CUDA_ON_HOST)
    done = run(build("nms_cuda_driver", units, flags), "1", "5000", PYVQA_HOST_CUDA_ORDER=order)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all equal\n")


def test_host_cuda_explains_in_the_same_words() -> None:
    boxes, scores = draw(5)
    said = []
    for space in (torch.ops.pyvqa, library.load()):
        with pytest.raises(RuntimeError, match="nms: scores must be") as caught:
            space.nms(boxes, scores[:4], None, 0.5, False, False, False)
        said.append(str(caught.value).split("nms: ", 1)[1].split("\n")[0])
    assert said[0] == said[1]


# ---- on a device


@pytest.mark.cuda
@pytest.mark.parametrize("count", [*COUNTS, 9000])
def test_cuda_equals_the_cpu(count: int) -> None:
    boxes, scores = draw(count, span=60 if count < 999 else 900)
    for strange in (False, True):
        if strange:
            make_strange(boxes, scores, count)
        for idxs in (None, draw_idxs(count)):
            for flags in ((False, False, False), (True, True, True)):
                arguments = (boxes, scores, idxs, 0.5, *flags)
                on_device = [a.cuda() if isinstance(a, Tensor) else a for a in arguments]
                for op in (torch.ops.pyvqa.nms, torch.ops.pyvqa.nms_padded):
                    expected, found = op(*arguments), op(*on_device)
                    if isinstance(found, Tensor):
                        expected, found = (expected,), (found,)
                    assert_equal([t.cpu() for t in found], expected)


@pytest.mark.cuda
def test_padded_is_captured_in_a_graph() -> None:
    boxes, scores = (t.cuda() for t in draw(5000, span=500))
    ops.nms_padded(boxes, scores, 0.5)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        keep, count = ops.nms_padded(boxes, scores, 0.5)
    boxes.copy_(draw(5000, 1, span=500)[0])
    graph.replay()
    assert_equal((keep.cpu(), count.cpu()), ops.nms_padded(boxes.cpu(), scores.cpu(), 0.5))
