"""Option files and argument lists of bootstrap.pytorch, as MuRel and BLOCK are run with them.

A file is YAML and may include others (`__include__`); every leaf becomes a flag `--a.b.c` whose
type is that of the leaf. Read exactly as lib/options.py does, save for abbreviated flags, which are
refused: they change their meaning when an option is added.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from pyvqa.errors import ConfigError, DataError
from pyvqa.files import read_bytes

_INCLUDE = "__include__"
_YES, _NO = ("yes", "true"), ("no", "false")


def read_options(path: str | Path, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Read an option file with all that it includes, and apply an argument list.

    Raises:
        ConfigError: a file is missing, malformed or includes itself, or an argument is unknown or
            of the wrong type.
    """
    options = _read(Path(path), ())
    parser = _Parser(prog=str(path), add_help=False, allow_abbrev=False)
    for key, value in _leaves(options, ""):
        if isinstance(value, list):
            kind = _type_of(value[0]) if value else str
            parser.add_argument(f"--{key}", dest=key, nargs="*", type=kind, default=value)
        else:
            parser.add_argument(
                f"--{key}", dest=key, nargs="?", type=_type_of(value), const=None, default=value
            )
    for key, value in vars(parser.parse_args(list(arguments))).items():
        _put(options, key, value)
    return options


def write_options(options: Mapping[str, Any]) -> str:
    """Give the text that the original saves as options.yaml."""
    return yaml.safe_dump(dict(options), default_flow_style=False, sort_keys=False)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        reason = message.replace("\n", " ")
        raise ConfigError(f"{self.prog}: {reason}; flags are --a.b.c for each option of the file")


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Read one file over what it includes, later includes over earlier ones."""
    if path.resolve() in seen:
        raise ConfigError(f"{path}: includes itself; take it out of {_INCLUDE}")
    try:
        values = yaml.safe_load(read_bytes(path).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text; is this an option file?") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not YAML ({reason}); fix the file there") from error
    except DataError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no options at its top level; is this an option file?")
    names = values.pop(_INCLUDE, [])
    result: dict[str, Any] = {}
    for name in [names] if isinstance(names, str) else names or []:
        beside = path.parent / str(name)
        found = beside if beside.is_file() else Path(str(name))
        result = _merged(result, _read(found, (*seen, path.resolve())))
    return _merged(result, values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _leaves(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _put(options: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        options = options[group]
    options[last] = value


def _type_of(value: Any) -> Any:
    if isinstance(value, bool):
        return _boolean
    return type(value) if isinstance(value, int | float) else str


def _boolean(text: str) -> bool:
    if text.lower() in _YES + _NO:
        return text.lower() in _YES
    raise argparse.ArgumentTypeError(f"{text!r} is none of yes, no, true, false")
