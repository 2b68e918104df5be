"""Whether a small network can tell our pictures from genuine ones, and by what it could.

    PYVQA_REAL=<folder> python -m benchmarks.world.tell_apart [--views crops whole] [--steps 400]

Every scene of `clevr_original` is drawn again from its fitted camera, under lamps jittered as the
world jitters them (the genuine ones are not recorded). A network learns on some scenes which of two
pictures is genuine and is asked about the other scenes: 50 % is guessing. Both pictures of a scene
are on the same side of the split. `crops` are squares of 96 pixels, where the network sees grain,
edges and shading; `whole` are pictures at half resolution, where it sees light and colour. A veil
of noise over both hides their grain, so that the rest decides.
The second table compares what is measured by hand. Needs Pillow and pycocotools.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.world.looks import Folder, read_folder
from pyvqa import ops
from pyvqa.ops.render import GRAIN

CROP = 96
LAMP_JITTER = 1.0  # each coordinate, either way, uniform
FAINT = 4  # pixels from an outline that count as the inside of an object
TOP, BOTTOM = 100, 140  # rows above the first show the far ground, those below the second the near


@dataclass(frozen=True)
class Pictures:
    """Two pictures of each of S scenes."""

    theirs: Tensor  # uint8 [S, 3, H, W]
    ours: Tensor  # uint8 [S, 3, H, W]
    ids: Tensor  # int16 [S, H, W]


def draw(folder: Folder, *, samples: int, grain: float, seed: int) -> Pictures:
    """Draw the folder's scenes again and put the pictures side by side."""
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.rand(folder.lamps.shape, generator=generator, dtype=torch.float64) * 2 - 1
    seeds = torch.randint(2**62, (len(folder.scenes),), generator=generator)
    drawn = ops.render(
        folder.objects,
        folder.cameras,
        folder.lamps + LAMP_JITTER * jitter,
        samples=samples,
        seeds=seeds,
        grain=grain,
    )
    theirs = torch.from_numpy(np.stack([folder.picture(b) for b in range(len(folder.scenes))]))
    return Pictures(theirs.movedim(-1, 1), drawn.picture.movedim(-1, 1), drawn.ids)


class Block(nn.Module):
    """Two convolutions beside a shortcut; half the size comes out."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu(self.way(x) + self.shortcut(x)), 2)


class Judge(nn.Module):
    """A residual network with 150 thousand weights; its logit is high for ours."""

    def __init__(self, veil: float) -> None:
        super().__init__()
        self.veil = veil
        self.blocks = nn.Sequential(Block(6, 16), Block(16, 32), Block(32, 48), Block(48, 80))
        self.last = nn.Linear(80, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] to logits [N]; grain is brought out, so as not to be missed."""
        x = pictures.float()
        x = x + self.veil * torch.randn_like(x)
        fine = x - functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), "replicate"), 3, 1)
        seen = torch.cat([(x - 110) / 50, fine.clamp(-8, 8) / 2], 1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16()):
            features = self.blocks(seen).mean((2, 3))
        logits: Tensor = self.last(features.float()).squeeze(1)
        return logits


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "avx512_bf16" in cpuinfo.read_text()


def halved(pictures: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] at half the resolution."""
    return (functional.avg_pool2d(pictures.float(), 2) + 0.5).to(torch.uint8)


def batch_of(pictures: Pictures, scenes: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """Both pictures of some scenes, cut and flipped alike: uint8 [2 N, 3, h, w], ours last."""
    pairs = []
    height, width = pictures.ours.shape[2:]
    for b in scenes.tolist():
        y = int(torch.randint(height - CROP + 1, ()))
        x = int(torch.randint(width - CROP + 1, ()))
        pair = torch.stack([pictures.theirs[b], pictures.ours[b]])
        pair = pair if whole else pair[:, :, y : y + CROP, x : x + CROP]
        pairs.append(pair.flip(3) if torch.rand(()) < 0.5 else pair)
    batch = torch.stack(pairs, 1).flatten(0, 1)
    truth = torch.arange(len(batch)) >= len(scenes)
    return (halved(batch) if whole else batch), truth.float()


def train(
    pictures: Pictures, scenes: Tensor, *, whole: bool, steps: int, veil: float, seed: int
) -> Judge:
    """Teach a network on some scenes."""
    torch.manual_seed(seed)
    judge = Judge(veil).to(memory_format=torch.channels_last)
    count = 4 if whole else 16
    optimiser = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(steps):
        batch, truth = batch_of(pictures, scenes[torch.randperm(len(scenes))[:count]], whole)
        loss = functional.binary_cross_entropy_with_logits(judge(batch), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return judge.eval()


@torch.no_grad()
def judged(judge: Judge, picture: Tensor, whole: bool) -> Tensor:
    """Logits of a picture uint8 [3, H, W]: of the whole, or of squares that cover it."""
    if whole:
        return judge(halved(picture[None]))
    height, width = picture.shape[1:]
    squares = [
        picture[:, y : y + CROP, x : x + CROP]
        for y in torch.linspace(0, height - CROP, 4).long().tolist()
        for x in torch.linspace(0, width - CROP, 5).long().tolist()
    ]
    return judge(torch.stack(squares))


def accuracy(
    pictures: Pictures, *, whole: bool, steps: int, folds: int, veil: float, seed: int
) -> tuple[float, float, float]:
    """Share of right answers on unseen scenes: squares, pictures, and pictures of seen scenes."""
    number = torch.arange(len(pictures.ours))
    squares, unseen, seen = [], [], []
    for fold in range(folds):
        held = number % folds == fold
        judge = train(
            pictures, number[~held], whole=whole, steps=steps, veil=veil, seed=seed + fold
        )
        known = number[~held][:: max(1, folds - 1)]
        for b in [*number[held].tolist(), *known.tolist()]:
            for picture, sign in ((pictures.theirs[b], -1), (pictures.ours[b], 1)):
                logits = judged(judge, picture, whole) * sign
                right = float(logits.mean() > 0)
                if held[b]:
                    squares.append((logits > 0).float().mean())
                    unseen.append(right)
                else:
                    seen.append(right)
    return float(torch.stack(squares).mean()), float(np.mean(unseen)), float(np.mean(seen))


def insides(folder: Folder, ids: Tensor) -> dict[str, Tensor]:
    """Where materials and ground are, away from outlines: bool [S, H, W] each."""
    found = {name: torch.zeros(ids.shape, dtype=torch.bool) for name in ("rubber", "metal")}
    for b, scene in enumerate(folder.scenes):
        for k, thing in enumerate(scene["objects"]):
            found[thing["material"]][b] |= shrunk(ids[b] == k)
    ground = torch.stack([shrunk(image < 0) for image in ids])
    rows = torch.arange(ids.shape[1])[:, None]
    return found | {"far ground": ground & (rows < TOP), "near ground": ground & (rows >= BOTTOM)}


def shrunk(mask: Tensor) -> Tensor:
    """The mask without what is near its outline or the frame."""
    outside = functional.pad((~mask).float()[None], (FAINT,) * 4, value=1.0)
    return functional.max_pool2d(outside, 2 * FAINT + 1, 1)[0] == 0


def signs(pictures: Tensor, where: Tensor) -> tuple[float, float, float, float]:
    """Grain (its usual and its whole strength), and how alike in channels and in neighbours."""
    x = pictures.float()
    change = (x[..., :-2] - 2 * x[..., 1:-1] + x[..., 2:]) / 6**0.5
    here = where[..., 1:-1]
    values = change.movedim(1, -1)[here]
    usual = values.clamp(-4, 4).std(0).mean()
    both = here[:, 1:] & here[:, :-1]
    red, blue = values.clamp(-4, 4)[:, 0], values.clamp(-4, 4)[:, 2]
    above = change[:, 1, :-1].clamp(-4, 4)[both]
    below = change[:, 1, 1:].clamp(-4, 4)[both]
    return (
        float(usual),
        float(values.std(0).mean()),
        float(torch.corrcoef(torch.stack([red, blue]))[0, 1]),
        float(torch.corrcoef(torch.stack([above, below]))[0, 1]),
    )


def repeated(pictures: Tensor, ids: Tensor) -> float:
    """How alike the far ground's grain is in one picture and in the next."""
    x = pictures[:, 1, :TOP].float()
    change = (x[..., :-2] - 2 * x[..., 1:-1] + x[..., 2:]).clamp(-10, 10)
    ground = ids[:, :TOP, 1:-1] < 0
    both = ground[:-1] & ground[1:]
    pair = torch.stack([change[:-1][both], change[1:][both]])
    return float(torch.corrcoef(pair)[0, 1])


def sharpness(pictures: Tensor, ids: Tensor) -> float:
    """How much of the step across an upright outline lies between two neighbouring pixels."""
    x = pictures.float().mean(1)
    step = (x[..., 5:] - x[..., :-5]).abs()
    largest = (x[..., 1:] - x[..., :-1]).abs().unfold(-1, 5, 1).amax(-1)
    edge = (ids[..., 2:-3] != ids[..., 3:-2]) & (step > 30)
    return float((largest / step.clamp_min(1))[edge].clamp(max=1).mean())


def measured(folder: Folder, pictures: Pictures) -> str:
    """What differs, by hand, as Markdown; theirs first, then ours."""
    lines = [
        "| where | grain, clipped at 4 | grain | red with blue | pixel with the one below |",
        "|---|---|---|---|---|",
    ]
    for name, where in insides(folder, pictures.ids).items():
        pairs = zip(signs(pictures.theirs, where), signs(pictures.ours, where), strict=True)
        lines.append(f"| {name} | " + " | ".join(f"{a:.2f} / {b:.2f}" for a, b in pairs) + " |")
    edges = [sharpness(side, pictures.ids) for side in (pictures.theirs, pictures.ours)]
    alike = [repeated(side, pictures.ids) for side in (pictures.theirs, pictures.ours)]
    black = [int(side.min()) for side in (pictures.theirs, pictures.ours)]
    white = [
        100 * float((side == 255).all(1).float().mean())
        for side in (pictures.theirs, pictures.ours)
    ]
    lines += [
        "",
        f"Sharpest part of an outline's step {edges[0]:.3f} / {edges[1]:.3f}; darkest byte "
        f"{black[0]} / {black[1]}; white pixels {white[0]:.3f} / {white[1]:.3f} %; grain "
        f"of the far ground in one picture with that in the next {alike[0]:.2f} / {alike[1]:.2f}.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Draw, train, and print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--views", nargs="+", choices=("crops", "whole"), default=["crops"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--veil", type=float, default=0, help="noise over both, in grey levels")
    parser.add_argument("--samples", type=int, default=ops.TRAINING_QUALITY)
    parser.add_argument("--grain", type=float, default=GRAIN)
    args = parser.parse_args()
    root = os.environ.get("PYVQA_REAL")
    if root is None:
        sys.stderr.write("PYVQA_REAL must name the folder with the pictures\n")
        return 1
    torch.set_num_threads(1)
    folder = read_folder(Path(root) / "clevr_original")
    pictures = draw(folder, samples=args.samples, grain=args.grain, seed=args.seed)
    print("| view | unseen: views | unseen: pictures | seen: pictures | seconds |")
    print("|---|---|---|---|---|")
    for view in args.views:
        start = time.thread_time()
        parts = accuracy(
            pictures,
            whole=view == "whole",
            steps=args.steps,
            folds=args.folds,
            veil=args.veil,
            seed=args.seed,
        )
        shares = " | ".join(f"{100 * part:.1f} %" for part in parts)
        print(f"| {view} | {shares} | {time.thread_time() - start:.0f} |", flush=True)
    print(f"\n{measured(folder, pictures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
