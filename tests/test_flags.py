"""The command line's flags are an interface: they change knowingly, with tests/flags.txt."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyvqa.cli import main as cli

FROZEN = Path(__file__).with_name("flags.txt")
HOW = "if the change is meant, write the new list: python tests/test_flags.py"


def flags() -> list[str]:
    """One line for every argument of every command."""
    lines = []
    for name in cli.available():
        lines += _arguments(cli.command_parser(name, f"pyvqa {name}"), name)
    return lines


def _arguments(parser: argparse.ArgumentParser, command: str) -> list[str]:
    lines, nested = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            nested += [(sub, f"{command} {name}") for name, sub in action.choices.items()]
        elif not isinstance(action, argparse._HelpAction):
            lines.append(f"{command}: {_described(action)}")
    for sub, name in nested:
        lines += _arguments(sub, name) or [f"{name}:"]
    return lines


def _described(action: argparse.Action) -> str:
    words = [" ".join(action.option_strings) or f"<{action.dest}>"]
    if action.nargs is not None:
        words.append(f"nargs={action.nargs}")
    if action.choices:
        words.append("{" + ",".join(map(str, action.choices)) + "}")
    if action.required and action.option_strings:
        words.append("required")
    return " ".join(words)


def test_flags_are_those_of_the_list() -> None:
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    now = flags()
    gone = [line for line in frozen if line not in now]
    new = [line for line in now if line not in frozen]
    assert (gone, new) == ([], []), HOW


def test_every_argument_is_explained() -> None:
    silent = []
    for name in cli.available():
        parsers = [cli.command_parser(name, f"pyvqa {name}")]
        for parser in parsers:
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    parsers += action.choices.values()
                elif not action.help:
                    silent.append(f"{parser.prog} {action.dest}")
    assert silent == []


def test_every_command_shows_an_example() -> None:
    for name in cli.available():
        text = cli.command_parser(name, f"pyvqa {name}").format_help()
        assert f"pyvqa {name}" in text or f"pyvqa-{name}" in text
        assert "example" in text.lower(), f"pyvqa {name} --help has no example"


if __name__ == "__main__":
    FROZEN.write_text("\n".join(flags()) + "\n", encoding="utf-8")
