"""How much our pictures look like genuine ones: a table, and a sheet of pictures to look at.

    PYVQA_REAL=<folder> python benchmarks/world/looks.py --sheet looks.png [--samples 16]

The folder holds `clevr_original` (genuine pictures with fitted cameras; their lamps' jitter is not
known, so ours hang at their base positions) and `clevr_rendered` (path-traced pictures whose
cameras and lamps are recorded). Every scene with a picture is drawn again and compared with it.
Needs Pillow and pycocotools.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_masks

from pyvqa import ops
from pyvqa.ops import RenderObjects
from pyvqa.world import camera
from pyvqa.world.staging import MATERIALS, RADIUS, RGB, SHAPES

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Folder:
    """Scenes with pictures, and the cameras and lamps that they were taken with."""

    scenes: list[dict[str, Any]]
    files: list[Path]
    objects: RenderObjects
    cameras: torch.Tensor
    lamps: torch.Tensor

    def picture(self, b: int) -> Array:
        with Image.open(self.files[b]) as image:
            return np.asarray(image.convert("RGB"))

    def ids(self, b: int) -> Array:
        """The annotated object at each pixel, -1 where none."""
        ids = np.full((320, 480), -1, dtype=np.int16)
        for k, thing in enumerate(self.scenes[b]["objects"]):
            ids[coco_masks.decode(thing["mask"]).astype(bool)] = k
        return ids


def pack(scenes: list[dict[str, Any]]) -> RenderObjects:
    """The objects of annotated scenes."""
    things = [thing for scene in scenes for thing in scene["objects"]]
    counts = torch.tensor([0, *(len(scene["objects"]) for scene in scenes)])
    geometry = [[*t["3d_coords"], RADIUS[t["size"]], t["rotation"]] for t in things]
    return RenderObjects(
        torch.tensor(geometry, dtype=torch.float64),
        torch.tensor(
            [[SHAPES.index(t["shape"]), MATERIALS.index(t["material"])] for t in things],
            dtype=torch.uint8,
        ),
        torch.tensor([RGB[t["color"]] for t in things]) / 255,
        counts.cumsum(0),
    )


def read_folder(root: Path) -> Folder:
    """A folder of scenes, masks and pictures with `cameras.json` or `render_info.json`."""
    scenes = json.loads((root / "CLEVR_mini_coco_anns.json").read_text())["scenes"]
    names = [scene["image_filename"] for scene in scenes]
    if (root / "cameras.json").is_file():
        cameras = json.loads((root / "cameras.json").read_text())
        lamps = dict.fromkeys(names, camera.LAMPS)
    else:
        images = json.loads((root / "render_info.json").read_text())["images"]
        cameras = {image["image_filename"]: image["camera"] for image in images}
        lamps = {
            image["image_filename"]: [image["lamps"][k] for k in ("Key", "Fill", "Back")]
            for image in images
        }
    return Folder(
        scenes,
        [next((root / "images").rglob(name)) for name in names],
        pack(scenes),
        torch.tensor([cameras[name] for name in names], dtype=torch.float64),
        torch.tensor([lamps[name] for name in names], dtype=torch.float64),
    )


def outlines(folder: Folder, ids: Array, chosen: range) -> tuple[float, Array]:
    """The share of pixels with the annotated id, and the overlap of every object."""
    right, overlaps = [], []
    for b in chosen:
        truth = folder.ids(b)
        right.append((ids[b] == truth).mean())
        for k in range(len(folder.scenes[b]["objects"])):
            mine, theirs = ids[b] == k, truth == k
            overlaps.append((mine & theirs).sum() / max(1, (mine | theirs).sum()))
    return float(np.mean(right)), np.array(overlaps)


@dataclass
class Looks:
    """Differences of a folder's pictures, in grey levels."""

    absolute: list[float]
    psnr: list[float]
    groups: dict[str, list[Array]]  # pixels, then ours minus theirs in red, green and blue

    def means(self) -> dict[str, Array]:
        weighted = {name: np.stack(rows) for name, rows in sorted(self.groups.items())}
        return {
            name: (rows[:, :1] * rows[:, 1:]).sum(0) / rows[:, 0].sum()
            for name, rows in weighted.items()
        }


def looks(folder: Folder, pictures: Array, ids: Array) -> Looks:
    """Compare our pictures with the folder's."""
    found = Looks([], [], defaultdict(list))
    for b, scene in enumerate(folder.scenes):
        change = pictures[b].astype(np.float64) - folder.picture(b)
        found.absolute.append(float(np.abs(change).mean()))
        found.psnr.append(float(10 * np.log10(255**2 / np.square(change).mean())))
        for k, thing in enumerate(scene["objects"]):
            here = ids[b] == k
            if here.any():
                row = np.array([here.sum(), *change[here].mean(0)])
                found.groups[thing["material"]].append(row)
                found.groups[f"{thing['material']} {thing['color']}"].append(row)
        ground = ids[b] < 0
        found.groups["ground"].append(np.array([ground.sum(), *change[ground].mean(0)]))
    return found


def report(name: str, folder: Folder, drawn: ops.Rendering, milliseconds: float) -> str:
    """One folder's part of the table, as Markdown."""
    ids, count = drawn.ids.numpy(), len(folder.scenes)
    found = looks(folder, drawn.picture.numpy(), ids)
    right, overlaps = outlines(folder, ids, range(count))
    lines = [
        f"## {name}: {count} pictures, {len(overlaps)} objects",
        "",
        f"- mean absolute difference {np.mean(found.absolute):.2f} of 255, "
        f"PSNR {np.mean(found.psnr):.1f} dB, {milliseconds:.0f} ms a picture",
        f"- {100 * right:.3f} % of pixels with the right object; overlap of objects: mean "
        f"{overlaps.mean():.4f}, least {overlaps.min():.3f}, "
        f"{100 * (overlaps >= 0.99).mean():.1f} % at least 0.99",
        "",
        "| mean colour, ours minus theirs | red | green | blue |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {group} | " + " | ".join(f"{value:+.1f}" for value in mean) + " |"
        for group, mean in found.means().items()
    ]
    return "\n".join(lines) + "\n"


def sheet(folder: Folder, pictures: Array, chosen: list[int]) -> Array:
    """Rows of theirs, ours, and four times the difference."""
    rows = []
    for b in chosen:
        theirs = folder.picture(b)
        change = 128 + 4 * (pictures[b].astype(np.int32) - theirs)
        rows.append(np.concatenate([theirs, pictures[b], change.clip(0, 255)], axis=1))
    return np.concatenate(rows).astype(np.uint8)


def main() -> int:
    """Draw, compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sheet", type=Path, help="write pictures side by side to this PNG")
    parser.add_argument("--rows", type=int, default=4, help="of the sheet, for each folder")
    parser.add_argument("--samples", type=int, default=ops.TRAINING_QUALITY)
    args = parser.parse_args()
    root = os.environ.get("PYVQA_REAL")
    if root is None:
        sys.stderr.write("PYVQA_REAL must name the folder with the pictures\n")
        return 1
    torch.set_num_threads(1)
    sheets = []
    for name in ("clevr_original", "clevr_rendered"):
        folder = read_folder(Path(root) / name)
        count = len(folder.scenes)
        start = time.thread_time()
        drawn = ops.render(
            folder.objects,
            folder.cameras,
            folder.lamps,
            samples=args.samples,
            seeds=torch.arange(count),
        )
        spent = (time.thread_time() - start) / count * 1e3
        print(report(name, folder, drawn, spent))
        chosen = list(range(0, count, max(1, count // args.rows)))[: args.rows]
        sheets.append(sheet(folder, drawn.picture.numpy(), chosen))
    if args.sheet is not None:
        Image.fromarray(np.concatenate(sheets)).save(args.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
