"""The order of data as a pure function of (seed, epoch): nothing to save, any worker can ask.

Sources use these three to turn an epoch and an index into the items of one share:

    order = epoch_order(len(items), seed, epoch)
    mine = share(global_batch(order, index, batch_size), rank, ranks)
"""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray


@lru_cache(maxsize=4)
def epoch_order(items: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Give the shuffled item numbers of one epoch: [items] int64, not to be written to."""
    order = np.random.Generator(np.random.Philox(mix(seed, epoch))).permutation(items)
    order.setflags(write=False)
    return order


def batches_in_epoch(items: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Count the global batches of an epoch; the last one may be smaller."""
    return items // batch_size if drop_last else -(-items // batch_size)


def global_batch(order: NDArray[np.int64], index: int, batch_size: int) -> NDArray[np.int64]:
    """Cut global batch `index` out of an epoch's order: [<= batch_size] int64."""
    return order[index * batch_size : (index + 1) * batch_size]


def share(batch: NDArray[np.int64], rank: int, ranks: int) -> NDArray[np.int64]:
    """Cut one rank's contiguous share out of a global batch; sizes differ by one at most."""
    return batch[len(batch) * rank // ranks : len(batch) * (rank + 1) // ranks]


def mix(*numbers: int) -> int:
    """Hash integers into one 64-bit seed; near inputs give unrelated seeds."""
    text = ",".join(str(int(number)) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode("ascii"), digest_size=8).digest(), "little")


def seed_everything(*numbers: int) -> None:
    """Seed torch (all devices), NumPy's and Python's global generators from a tuple of numbers."""
    seed = mix(*numbers)
    # torch.manual_seed would note down a stack trace for each kind of device not in use.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    random.seed(seed)
