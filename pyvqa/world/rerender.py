"""Pictures and masks of the scenes of a file, made in pieces that survive an interruption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyvqa.data.pieces import Pieces, remove_half_written
from pyvqa.errors import DataError
from pyvqa.files import atomic_write, read_json, sha256, write_json
from pyvqa.world import camera
from pyvqa.world.assemble import each
from pyvqa.world.blocks import Span, add_coco_masks, write_lines
from pyvqa.world.from_files import LAMP_NAMES, SceneFile, Views, stage_file
from pyvqa.world.masks import Masks
from pyvqa.world.png import encode_png, opaque
from pyvqa.world.staging import Quality

FORMAT_VERSION = 1  # of the pieces


class Rerendering:
    """The pictures of a scene file in a folder, finished or not."""

    def __init__(self, out: str | Path, scenes: SceneFile, views: Views, quality: Quality) -> None:
        """Check that the folder is free, or holds this work.

        Raises ConfigError where other settings made what is there, DataError for files of another
        origin or scenes that cannot be seen.
        """
        self.scenes, self.views, self.quality = scenes, views, quality
        self._stage = stage_file(scenes, views)
        out = Path(out)
        self.pictures_path = out / "images"
        self.scenes_path = out / "scenes.json"
        self.info_path = out / "render_info.json"
        self.work = out / ".render"
        self._pieces = Pieces(self.work)
        finished = None
        if self.info_path.exists():
            finished = read_json(self.info_path, keys=("info",))["info"].get("made_from")
        if finished is None and not self.work.exists():
            self._check_strangers()
        self._pieces.begin(self._fingerprint(), finished)

    def is_complete(self) -> bool:
        """Say whether everything is there already."""
        return self.info_path.exists() and not self.work.exists()

    def make(self, workers: int, progress: Callable[[int], object]) -> None:
        """Make the missing pictures with `workers` threads, then publish everything."""
        done = self._pieces.finished("pictures")
        runs = Span(0, len(self.scenes)).runs()
        for run in runs:
            if run.first in done:
                progress(run.count)
        for run in each(self._make_run, [r for r in runs if r.first not in done], workers):
            progress(run.count)
        self._publish(runs)

    def unseen(self) -> list[str]:
        """Say of which objects no pixel shows, in a finished work."""
        scenes = read_json(self.scenes_path, keys=("scenes",))["scenes"]
        empty = _empty_counts(self.quality.size)
        return [
            f"{scene['image_filename']} object {number}"
            for scene in scenes
            for number, item in enumerate(scene["objects"])
            if item["mask"]["counts"] == empty
        ]

    def _make_run(self, run: Span) -> Span:
        with self._pieces.new("pictures", run.first) as folder:
            records = []
            for k in range(run.first, run.first + run.count):
                made = self._stage.part(k, k + 1).render(self.quality)
                (picture,) = opaque(made.picture.numpy())
                (folder / self.scenes.names[k]).write_bytes(encode_png(picture))
                records.append(
                    self._masked(k, Masks.of(made.ids.numpy(), self.scenes.counts[k : k + 1]))
                )
            write_lines(folder / "scenes", records)
        return run

    def _masked(self, scene: int, masks: Masks) -> dict[str, Any]:
        record = self.scenes.records[scene]
        copied = {**record, "objects": [dict(item) for item in record["objects"]]}
        add_coco_masks([copied], masks)
        return copied

    def _publish(self, runs: list[Span]) -> None:
        lines = [line for run in runs for line in self._lines(run)]
        remove_half_written([self.scenes_path, self.info_path])
        head = json.dumps({"info": self.scenes.info}, separators=(",", ":"))[:-1]
        for run in runs:
            names = self.scenes.names[run.first : run.first + run.count]
            self._pieces.move_files("pictures", run.first, names, self.pictures_path)
        with atomic_write(self.scenes_path) as temporary:
            temporary.write_text(f'{head},"scenes":[' + ",\n".join(lines) + "]}\n", "utf-8")
        write_json(self.info_path, {"info": self._info(), "images": list(self._images())})
        self._pieces.end()

    def _lines(self, run: Span) -> list[str]:
        text = (self._pieces.path("pictures", run.first) / "scenes").read_text("utf-8")
        return text.splitlines()

    def _info(self) -> dict[str, Any]:
        return {
            "width": self.quality.width,
            "height": self.quality.height,
            "focal_pixels": camera.FOCAL * self.quality.width,
            "made_from": self._fingerprint(),
        }

    def _images(self) -> Iterator[dict[str, Any]]:
        axes = camera.camera_axes(self.views.cameras)
        matrices = np.stack([*axes, self.views.cameras], -1)  # [S, 3, 4]
        rows = zip(
            self.scenes.names, self.views.cameras.tolist(), matrices.tolist(),
            self.views.lamps.tolist(), strict=True,
        )  # fmt: skip
        for name, position, matrix, lamps in rows:
            yield {
                "image_filename": name,
                "camera": position,
                "camera_matrix": [*matrix, [0.0, 0.0, 0.0, 1.0]],
                "lamps": dict(zip(LAMP_NAMES, lamps, strict=True)),
                "samples_per_pixel": self.quality.samples,
            }

    def _fingerprint(self) -> dict[str, Any]:
        views = hashlib.sha256(self.views.cameras.tobytes() + self.views.lamps.tobytes())
        return {
            "version": FORMAT_VERSION,
            "scenes": sha256(self.scenes.path),
            "cameras": views.hexdigest(),
            "pictures": asdict(self.quality),
        }

    def _check_strangers(self) -> None:
        pictures = (self.pictures_path / name for name in self.scenes.names)
        there = [path for path in (self.scenes_path, *pictures) if path.exists()]
        if there:
            raise DataError(
                f"{there[0]}: is there already, of another origin; choose another --out or move it "
                "away"
            )


def _empty_counts(size: tuple[int, int]) -> str:
    nothing = Masks.of(np.full((1, *size), -1, dtype=np.int16), np.ones(1, dtype=np.int32))
    return nothing.coco()[0]
