"""Several processes, one training: what the ranks of a `torchrun` job say to each other.

Gradients are averaged by one all-reduce per update, after the last micro-batch, instead of by
DistributedDataParallel. A step may then call any part of any network as it likes (several networks,
modules chosen by a program, parameters unused on some ranks), and one rank with two micro-batches
computes what two ranks compute. What is given up is the overlap with the backward pass.

A rank that dies is noticed at once by its neighbours' connections, a rank that hangs by its missing
sign of life (`_Watch`); either way the job ends with a line that names it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from pyvqa.errors import ConfigError, TrainingError
from pyvqa.train.settings import TrainConfig

logger = logging.getLogger("pyvqa")

# Seconds between two signs of life.
_BEAT = 1.0
# Gradients travel in pieces of about this many elements, which bounds the extra memory.
_PIECE = 16 << 20


class Ranks:
    """This process's place in the job. With one rank, every method returns at once."""

    def __init__(self, rank: int, ranks: int, device: torch.device) -> None:
        self.rank = rank
        self.ranks = ranks
        self.device = device
        self._watch: _Watch | None = None

    def note_step(self, step: int) -> None:
        """Let the other ranks know how far this one is, to be named if it stops answering."""
        if self._watch is not None:
            self._watch.step = step

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Tell for each flag whether it is raised on any rank."""
        if self.ranks == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over the ranks."""
        if self.ranks > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the ranks.

        A parameter without a gradient on every rank keeps none; a gradient of some ranks only
        counts as zero on the others.
        """
        if self.ranks == 1:
            return
        present = self.any([parameter.grad is not None for parameter in parameters])
        chosen = [p for p, is_present in zip(parameters, present, strict=True) if is_present]
        for parameter in chosen:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for piece in _pieces([p.grad for p in chosen if p.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in piece])
            dist.all_reduce(flat)
            sizes = [gradient.numel() for gradient in piece]
            for gradient, part in zip(piece, torch.split(flat, sizes), strict=True):
                gradient.copy_(part.view_as(gradient))

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with rank 0's."""
        if self.ranks > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def broadcast_json(self, value: Any) -> Any:
        """Give rank 0's value (anything that JSON can hold) to every rank."""
        if self.ranks == 1:
            return value
        content = bytearray(json.dumps(value).encode("utf-8"))
        size = torch.tensor([len(content)])
        dist.broadcast(size, src=0)
        text = torch.zeros(int(size), dtype=torch.uint8)
        if self.rank == 0:
            text.copy_(torch.frombuffer(content, dtype=torch.uint8))
        dist.broadcast(text, src=0)
        return json.loads(bytes(text.tolist()).decode("utf-8"))

    def wait(self) -> None:
        """Wait until every rank has come here."""
        if self.ranks > 1:
            dist.barrier()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say which rank is lost when working with the others fails.

        Raises:
            TrainingError: a rank has died or does not answer. Other errors pass unchanged.
        """
        try:
            yield
        except RuntimeError as error:
            reason = self._watch.explain(error) if self._watch is not None else ""
            if reason:
                raise TrainingError(f"{reason}; run the same command to continue") from error
            raise


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """Give the mean of every rank's tensor; the tensor itself in a job of one rank.

    For steps whose losses are divided by counts that all ranks have to agree on.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


@contextmanager
def join(config: TrainConfig) -> Iterator[Ranks]:
    """Join the job that `torchrun` has started, or stand alone; choose the device.

    Raises:
        ConfigError: `train.device` is unknown or not there.
        TrainingError: the ranks do not find each other in time.
    """
    ranks, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    device = choose_device(config.device, local)
    if ranks == 1:
        yield Ranks(0, 1, device)
        return
    limit = timedelta(seconds=config.timeout)
    try:
        store, rank, ranks = next(iter(rendezvous("env://", timeout=limit)))
        store = PrefixStore(_meet(store, rank, ranks, config.timeout), store)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=limit)
    except (RuntimeError, TimeoutError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise TrainingError(f"the ranks did not find each other: {text}") from error
    group = Ranks(rank, ranks, device)
    watch = group._watch = _Watch(store, rank, ranks, config)
    watch.start()
    try:
        yield group
    except BaseException as error:
        watch.leave(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    watch.stop()
    dist.barrier()
    dist.destroy_process_group()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Find the device that a config names; `auto` is this rank's GPU, or the CPU without one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"train.device is {name!r}; it must be auto, cpu, cuda or cuda:NUMBER"
        ) from error
    if device.type != "cuda":
        return device
    index = local_rank if device.index is None else device.index
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise ConfigError(
            f"train.device is {name!r} but torch sees {count} CUDA devices, not number {index}; "
            "use train.device=cpu, or start fewer ranks"
        )
    # Seeding reaches a device from the first step only if it is set up before.
    torch.cuda.init()  # type: ignore[no-untyped-call]
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _meet(store: Store, rank: int, ranks: int, timeout: float) -> str:
    """Agree on a name for this attempt, under which the ranks find each other's fresh addresses.

    `torchrun --max-restarts` keeps its store, with what a dead attempt has left in it. Rank 0 draws
    a name and confirms it to those who have answered to it in this attempt (known by a mark that
    each rank draws); who has read an old name gets no confirmation and reads again.
    """
    mark, end = secrets.token_hex(8), time.monotonic() + timeout
    if rank == 0:
        name = f"pyvqa/{mark}"
        store.set("pyvqa/attempt", name)
        marks = [store.get(f"{name}/mark/{other}").decode() for other in range(1, ranks)]
        store.set(f"{name}/confirmed", " ".join(marks))
        return name
    while time.monotonic() < end:
        name = str(store.get("pyvqa/attempt").decode())
        store.set(f"{name}/mark/{rank}", mark)
        for _ in range(10):
            confirmed = f"{name}/confirmed"
            if store.check([confirmed]) and mark in store.get(confirmed).decode().split():
                return name
            time.sleep(0.05)
    raise TimeoutError(f"rank 0 has not answered for {timeout:.0f} s")


class _Watch(threading.Thread):
    """Give a sign of life every second, and look for those of the others.

    The main thread may be stuck in a collective operation that cannot be interrupted; this one
    then ends the process.
    """

    def __init__(self, store: Store, rank: int, ranks: int, config: TrainConfig) -> None:
        super().__init__(name="pyvqa-watch", daemon=True)
        # A connection of its own: the other one is held while a collective operation waits.
        self._store = store.clone()  # type: ignore[attr-defined]
        self._rank = rank
        self._others = [other for other in range(ranks) if other != rank]
        self._lost_after = config.lost_after
        self._beats = 0
        self._seen: dict[int, tuple[str, float]] = {}
        self._end = threading.Event()
        self.step = 0

    def run(self) -> None:
        """Beat and look until stopped."""
        while not self._end.is_set():
            try:
                self._beat()
            except RuntimeError:
                if not self._end.is_set():
                    self._give_up("the job's first rank, or its launcher, is gone")
            now = time.monotonic()
            for other, (_, since) in self._seen.items():
                if now - since > self._lost_after and not self._end.is_set():
                    self._give_up(
                        f"rank {other} is lost: no sign of life for {self._lost_after:.0f} s"
                    )
            self._end.wait(_BEAT)

    def stop(self) -> None:
        """End the thread; done before a job ends, as the ranks do not leave at the same moment."""
        self._end.set()
        self.join()

    def leave(self, reason: str) -> None:
        """Let the others know why this rank ends early."""
        self.stop()
        try:
            self._store.set(self._key("left", self._rank), reason)
        except RuntimeError:
            logger.debug("rank %d could not say goodbye", self._rank)

    def explain(self, error: RuntimeError) -> str:
        """Name the rank that made a collective operation fail; empty when all are well."""
        try:
            before = self._read("alive")
            time.sleep(3 * _BEAT)
            after, reasons = self._read("alive"), self._read("left")
        except RuntimeError:
            return "the job's first rank, or its launcher, is gone"
        for other in self._others:
            if other not in reasons and after.get(other) == before.get(other):
                return f"rank {other} is lost: it ended without a word"
        for other, reason in reasons.items():
            return f"rank {other} ended early: {reason}"
        if "timed out" in str(error).lower():
            steps = {other: int(value.split()[1]) for other, value in after.items()}
            slowest = min(steps, key=lambda other: steps[other])
            return f"rank {slowest} does not answer: it stands at step {steps[slowest]}"
        return ""

    def _read(self, kind: str) -> dict[int, str]:
        """Read what the other ranks have put under `kind`; those that have not are left out."""
        keys = {other: self._key(kind, other) for other in self._others}
        present = {other: key for other, key in keys.items() if self._store.check([key])}
        return {other: self._store.get(key).decode("utf-8") for other, key in present.items()}

    def _beat(self) -> None:
        self._beats += 1
        self._store.set(self._key("alive", self._rank), f"{self._beats} {self.step}")
        for other, value in self._read("alive").items():
            if other not in self._seen or self._seen[other][0] != value:
                self._seen[other] = (value, time.monotonic())

    def _key(self, kind: str, rank: int) -> str:
        return f"{kind}/{rank}"

    def _give_up(self, reason: str) -> None:
        logger.error("error: rank %d stops: %s; run the same command to continue",
                     self._rank, reason)  # fmt: skip
        logging.shutdown()
        os._exit(1)


def _pieces(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Cut a list of tensors into runs of one type and of limited size, the same on every rank."""
    for _, same in groupby(tensors, key=lambda tensor: (tensor.dtype, tensor.device)):
        piece: list[Tensor] = []
        size = 0
        for tensor in same:
            if piece and size + tensor.numel() > _PIECE:
                yield piece
                piece, size = [], 0
            piece.append(tensor)
            size += tensor.numel()
        yield piece
