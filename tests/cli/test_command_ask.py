"""`pyvqa ask`: any picture and any question end in an answer, a warned one, or one line."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyvqa.cli import main as cli
from pyvqa.evidence import read_answers

QUESTION = "How many red things are there?"
NASTY = "How many <img src=x onerror=alert(1)> are there?"
Models = dict[str, Path]


def noise(height: int = 64, width: int = 96, channels: int = 3) -> Image.Image:
    """A grey ground with coloured spots."""
    chance = np.random.default_rng(0)
    pixels = np.full((height, width, channels), 120, dtype=np.uint8)
    pixels += chance.integers(0, 8, pixels.shape, dtype=np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = chance.integers(0, 256, channels)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def png_of(width: int, height: int) -> bytes:
    """A PNG file that claims to be of this size."""
    chunks = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + content))
        chunks += struct.pack(">I", len(content)) + kind + content + check
    return chunks


def saved(kind: str, **options: object) -> Callable[[Path], None]:
    return lambda path: noise().save(path, kind, **options)


def cut(path: Path) -> None:
    noise().save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-300])


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(96, 64).save(path, "JPEG", exif=exif)


def animated(path: Path) -> None:
    noise().save(path, "WEBP", save_all=True, append_images=[noise()], duration=50)


def deep(path: Path) -> None:
    grey = np.full((64, 96), 120 << 8, dtype=np.uint16)
    Image.fromarray(grey).save(path, "PNG")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut.jpg": (cut, "damaged or cut off"),
    "bomb.png": (lambda path: path.write_bytes(png_of(10_000, 5_000)), "10000 x 5000 pixels"),
    "huge_bomb.png": (
        lambda path: path.write_bytes(png_of(60_000, 60_000)),
        "scale it down|cut off",
    ),
    "picture.gif": (saved("GIF"), "not a picture in JPEG, PNG or WebP"),
    "text.png": (lambda path: path.write_text("hello"), "not a picture in JPEG, PNG or WebP"),
    "empty.png": (lambda path: path.write_bytes(b""), "the file is empty"),
    "folder.png": (lambda path: path.mkdir(), "is a folder"),
    "missing.png": (lambda path: None, "there is no such file"),
    "pixels_missing.png": (lambda path: path.write_bytes(png_of(96, 64)), "damaged or cut off"),
}
TAKEN: dict[str, Callable[[Path], object]] = {
    "one.png": lambda path: noise(1, 1).save(path),
    "thin.png": lambda path: noise(1, 300).save(path),
    "grey.png": lambda path: noise(channels=1).save(path),
    "palette.png": lambda path: noise().convert("P").save(path),
    "deep.png": deep,
    "cmyk.jpg": lambda path: noise().convert("CMYK").save(path, "JPEG"),
    "clear.png": lambda path: noise(channels=4).save(path),
    "turned.jpg": turned,
    "animated.webp": animated,
    "large.jpg": lambda path: noise(1500, 2200).save(path, "JPEG"),
}


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["ask", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_one_line(
    name: str, tmp_path: Path, sighted_models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = REFUSED[name]
    make(tmp_path / name)
    code, out, err = ask(capsys, sighted_models["nothing"], tmp_path / name, QUESTION)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert name in err
    assert any(part in err for part in message.split("|")), err


@pytest.mark.parametrize("eyes", ["nothing", "everything"])
@pytest.mark.parametrize("name", TAKEN)
def test_pictures_of_any_kind_are_looked_at(
    name: str,
    eyes: str,
    tmp_path: Path,
    sighted_models: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    TAKEN[name](tmp_path / name)
    data = tmp_path / "answer.json"
    code, out, err = ask(capsys, sighted_models[eyes], tmp_path / name, QUESTION, "--json", data)
    assert (code, err) == (0, "")
    [answer] = read_answers(data)
    canvas = answer.canvas
    assert canvas is not None
    expected = Image.open(tmp_path / name).size
    assert (canvas.width, canvas.height) == (expected[::-1] if name == "turned.jpg" else expected)
    assert name in out
    for region in canvas.regions:
        assert region.mask is not None
        assert region.mask.size == (canvas.height, canvas.width)
    if not canvas.regions:
        assert answer.text == "unknown"
        assert "no objects were found in the picture" in answer.warnings


def test_a_hundred_overlapping_objects(
    tmp_path: Path, sighted_models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    noise().save(tmp_path / "many.png")
    page, data = tmp_path / "page.html", tmp_path / "answer.json"
    code, out, _ = ask(
        capsys,
        sighted_models["everything"],
        tmp_path / "many.png",
        "How many things are there?",
        *("--html", page, "--json", data),
    )
    assert code == 0
    [answer] = read_answers(data)
    assert answer.canvas is not None
    assert len(answer.canvas.regions) >= 100
    assert f"{len(answer.canvas.regions)} objects" in out
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("question", "message"), [("", "the question is empty"), ("x" * 10_000, "10,000 characters")]
)
def test_what_is_no_question_is_refused(
    question: str,
    message: str,
    tmp_path: Path,
    sighted_models: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise().save(tmp_path / "picture.png")
    code, _, err = ask(capsys, sighted_models["nothing"], tmp_path / "picture.png", question)
    assert (code, err.count("\n")) == (1, 1)
    assert message in err


@pytest.mark.parametrize(
    "question", [NASTY, "🟥 how many 🧊?", "hello\x00\x1b[31m\nworld", "?", ";"]
)
def test_odd_questions_are_doubted(
    question: str, tmp_path: Path, sighted_models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    noise().save(tmp_path / "picture.png")
    page, data = tmp_path / "page.html", tmp_path / "answer.json"
    model = sighted_models["everything"]
    code, out, err = ask(
        capsys, model, tmp_path / "picture.png", question, "--html", page, "--json", data
    )
    assert (code, err) == (0, "")
    assert out.startswith("answer      unknown\n")
    assert "\x1b" not in out
    assert "<img" not in page.read_text(encoding="utf-8")
    [answer] = read_answers(data)
    assert answer.score is None
    assert answer.warnings
    assert answer.question == question


def test_the_answer_is_told_with_its_steps(
    tmp_path: Path, sighted_models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    noise().save(tmp_path / "picture.png")
    code, out, _ = ask(
        capsys, sighted_models["everything"], tmp_path / "picture.png", QUESTION, "--grammar"
    )
    assert code == 0
    assert "Start with all objects" in out
    assert "Keep the red ones" in out
    assert "Count them" in out


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("parser", "holds no detector and no attributes, so it cannot see pictures"),
        ("detector", "holds no attributes, so it cannot see pictures"),
        ("attributes", "holds no detector, so it cannot see pictures"),
    ],
)
def test_a_model_without_eyes_says_so(
    part: str,
    message: str,
    tmp_path: Path,
    sighted_models: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise().save(tmp_path / "picture.png")
    code, _, err = ask(capsys, sighted_models[part], tmp_path / "picture.png", QUESTION)
    assert (code, err.count("\n")) == (1, 1)
    assert message in err


def test_the_data_is_plain_json(
    tmp_path: Path, sighted_models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    noise().save(tmp_path / "picture.png")
    data = tmp_path / "answer.json"
    ask(capsys, sighted_models["nothing"], tmp_path / "picture.png", QUESTION, "--json", data)
    content = json.loads(data.read_text(encoding="utf-8"))
    assert content["format"] == "pyvqa-answers"
    assert cli.main(["view", str(data)]) == 0
