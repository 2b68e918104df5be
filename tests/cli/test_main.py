"""Finding commands, and what becomes of errors."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

import pyvqa
from pyvqa.cli import main as cli
from pyvqa.errors import ConfigError, DataError


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"pyvqa {pyvqa.__version__}\n"


def test_help_lists_the_commands_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert {"info", "execute", "demo", "view", "train"} <= set(cli.available())
    for name in cli.COMMANDS:
        assert (f"\n  {name} " in text) == (name in cli.available())


def test_a_command_that_is_not_installed_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "later", ("pyvqa.cli.later", "comes later"))
    assert "later" not in cli.available()
    with pytest.raises(SystemExit, match="2"):
        cli.main(["later"])
    assert "unknown command 'later'" in capsys.readouterr().err


def test_no_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "meant"), [("exekute", "execute"), ("inof", "info")])
def test_a_mistyped_command(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main([typed])
    assert f"did you mean '{meant}'?" in capsys.readouterr().err


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["execute"], ["info", "--jsn"], ["execute", "--language", "gqa"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(arguments)
    assert "--scenes" in capsys.readouterr().err


def test_every_command_is_imported_alone() -> None:
    code = (
        "import sys; from pyvqa.cli import main as cli; cli.command_parser('info', 'pyvqa info');"
        "print(sorted(m for m in sys.modules if m.startswith('pyvqa.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pyvqa.cli.info', 'pyvqa.cli.main']"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("a.json: broken\n here"), 1, "pyvqa: a.json: broken here"),
        (ConfigError("lr: no"), 1, "pyvqa: lr: no"),
        (KeyboardInterrupt(), 130, "pyvqa: interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "out.json"), 1, "free space"),
        (OSError(errno.EACCES, "Permission denied", "x"), 1, "pyvqa: x: Permission denied; check"),
        (MemoryError(), 1, "not enough memory"),
        (ValueError("odd"), 1, "unexpected ValueError: odd; please report it with --traceback"),
    ],
)
def test_an_error_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert cli.explained(fail) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert line in err


def test_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--traceback", "execute", "--scenes", "none", "--questions", "none"],
        ["execute", "--traceback", "--scenes", "none", "--questions", "none"],
    ):
        assert cli.main(arguments) == 1
        err = capsys.readouterr().err
        assert "Traceback (most recent call last)" in err
        assert err.rstrip().endswith("check the path")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "pyvqa.cli.main", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_the_scripts_of_pyproject_exist() -> None:
    for name in ("main", "train", "evaluate", "prepare"):
        assert callable(getattr(cli, name))
