"""Contact sheets: one file, every text escaped, masks drawn where they belong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.view.sheet import Line, Picture, sheet_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
NASTY = "<img src=x onerror=document.title='broken'></script>"


def picture() -> Picture:
    ids = np.zeros((4, 6), dtype=np.uint8)
    ids[1:3, 1:3], ids[1:3, 4:] = 1, 2
    masks = tuple(_native.coco_rle_encode((ids == k).astype(np.uint8)).decode() for k in (1, 2))
    return Picture(
        title=NASTY,
        png=b"\x89PNG",
        size=(4, 6),
        labels=("thing one", NASTY),
        masks=masks,
        lines=(
            Line(text=NASTY, answer=NASTY),
            Line(text="the second", objects=(1,)),
            Line(text="none of them", objects=()),
        ),
    )


def test_no_text_becomes_markup() -> None:
    text = sheet_page([picture()], title=NASTY, lead=NASTY, figures=[(NASTY, NASTY)])
    assert "<img" not in text
    assert text.count("</script>") == 2
    [found] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    data = json.loads(found)
    assert data["title"] == data["pictures"][0]["title"] == NASTY
    assert data["pictures"][0]["image"] == "data:image/png;base64,iVBORw=="
    assert [line.get("objects") for line in data["pictures"][0]["lines"]] == [None, [1], []]
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src &#x27;none&#x27;; img-src data:;" in policy[1]


SHOWN = """
<script>
const surface = document.querySelector("canvas").getContext("2d");
const alpha = Array.from(surface.getImageData(0, 0, 6, 4).data).filter((_, k) => k % 4 === 3);
document.title = alpha.join(",");
</script>
"""


@pytest.mark.e2e
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the path")
@pytest.mark.parametrize(("place", "inside"), [("", None), ("0.o0", 1), ("0.l1", 2), ("0.l2", 0)])
def test_a_kept_object_or_expression_stays_in_sight(
    tmp_path: Path, place: str, inside: int | None
) -> None:
    text = sheet_page([picture()], title="A sheet")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    file = tmp_path / "page.html"
    file.write_text(text.replace("</body>", SHOWN + "</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(BROWSER), *options, profile, "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run(
        [*command, f"{file.as_uri()}#{place}"], capture_output=True, text=True, timeout=120
    )
    body = done.stdout.split('<main id="page">')[1].split("</main>")[0]
    assert body.count("<img") == 1
    assert body.count('aria-pressed="true"') == (place != "")
    title = re.search(r"<title>([\d,]+)</title>", done.stdout)
    assert title is not None, done.stdout[:2000]
    alpha = np.array([int(a) for a in title[1].split(",")]).reshape(4, 6)
    if inside is None:
        assert alpha.max() == 0
        return
    ids = np.zeros((4, 6), dtype=int)
    ids[1:3, 1:3], ids[1:3, 4:] = 1, 2
    shown = (ids == inside) & (ids > 0)
    assert np.all(alpha[shown] == 255)  # every pixel of so small a mask is at its edge
    assert np.all(alpha[~shown] == 140)
