"""Pictures as canvases of evidence."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.world.canvas import picture_canvas
from pyvqa.world.scenes import SceneSettings
from pyvqa.world.staging import Quality, stage
from pyvqa.world.visible import sample_visible_scenes


def test_a_canvas_holds_the_picture_and_its_objects() -> None:
    scenes, _, masks = sample_visible_scenes(2, 0, 1, SceneSettings(width=96, height=64))
    made = stage(scenes).render(Quality(96, 64, samples=1))
    picture = made.picture[0].numpy()
    canvas = picture_canvas(picture, masks.ids[0], scenes.codes, "a name")
    assert (canvas.kind, canvas.width, canvas.height, canvas.title) == ("picture", 96, 64, "a name")
    assert canvas.image is not None
    head, _, content = canvas.image.partition(",")
    assert head == "data:image/png;base64"
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(base64.b64decode(content)))
    assert np.array_equal(np.asarray(image), picture)
    items = scenes.records("val")[0]["objects"]
    assert len(canvas.regions) == len(items)
    for number, (region, item) in enumerate(zip(canvas.regions, items, strict=True)):
        assert region.label == "{size} {color} {material} {shape}".format(**item)
        assert region.attributes == {k: item[k] for k in ("color", "material", "shape", "size")}
        assert region.mask is not None
        mask = _native.coco_rle_decode(region.mask.counts, 64, 96).astype(bool)
        assert np.array_equal(mask, masks.ids[0] == number)
        rows, columns = np.nonzero(mask)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert region.box == tuple(float(edge) for edge in edges)
