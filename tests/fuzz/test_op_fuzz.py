"""The ops in short under the address and undefined-behaviour sanitizers: 20,000 random calls."""

from __future__ import annotations

import re
from pathlib import Path

import op_fuzz
import pytest

CALLS = 20_000

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def package() -> Path:
    if op_fuzz.sanitizer_runtime() is None:
        pytest.skip("no C++ compiler with the sanitizers' run-time libraries")
    return op_fuzz.build_package()


@pytest.mark.parametrize("isa", op_fuzz.ISAS)
def test_random_calls_have_nothing_to_report(package: Path, isa: str) -> None:
    done = op_fuzz.start(package, calls=CALLS // 3, seconds=20, seed=1, isa=isa)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    made = re.search(r"^(\d+) calls without a report", done.stdout, re.MULTILINE)
    assert made is not None
    assert int(made[1]) >= CALLS // 30  # on a busy machine the time is over first


def test_every_op_is_called() -> None:
    """An op without random calls would look as sound as one that survived them."""
    folders = {path.parent.name for path in op_fuzz.ROOT.glob("csrc/*/*_cpu.cpp")}
    called = {path.stem for path in op_fuzz.CALLS.glob("*.py")}
    assert folders <= called
