"""One way from YAML and `key=value` to a checked, typed config; and back to YAML.

    config = load_config("ns-vqa/parser-pretrain", ["optim.lr=1e-4"], ParserConfig)

A source is a YAML file or a shipped config by name, `<system>/<file>` for
`pyvqa/systems/<system>/configs/<file>.yaml`. A file may name one `base:` whose values it overrides.
There is no interpolation and no code: values are plain.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pyvqa.errors import ConfigError
from pyvqa.files import read_bytes

Config = TypeVar("Config")

_SYSTEMS = Path(__file__).resolve().parent.parent / "systems"
_NAME = re.compile(r"^[\w-]+/[\w-]+$")
_KEY = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")


def load_config(source: str | Path, overrides: Sequence[str], config_type: type[Config]) -> Config:
    """Read a config, apply `key=value` overrides and check every value against `config_type`.

    Raises:
        ConfigError: unreadable or malformed YAML, an unknown key (with the nearest known one), a
            value of the wrong type or out of range, a required key left out, or a `${...}`.
    """
    values = read_source(source)
    for text in overrides:
        key, value = parse_override(text)
        _put(values, key, value, text)
    return typed(values, config_type, where=str(source))


def typed(values: dict[str, Any], config_type: type[Config], *, where: str) -> Config:
    """Turn plain nested values into a checked `config_type`; `where` names the source in errors."""
    _check_keys(values, config_type, where)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(config_type), OmegaConf.create(values))
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(f"{where}: {missing[0]} is required; add {missing[0]}=VALUE")
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {_first_line(error)}; {_advice(error)}") from error
    check_limits(config, where)
    return config  # type: ignore[return-value]


def read_source(source: str | Path) -> dict[str, Any]:
    """Read a YAML file or shipped config, merged over its `base`, as plain nested values.

    A shipped config that names no `stage` is of the stage of its own name.
    """
    path, name = _find(str(source))
    values = _read_yaml(path)
    base = values.pop("base", None)
    if base is not None:
        beside = path.parent / str(base)
        base_path, base_name = (beside, "") if beside.is_file() else _find(str(base))
        below = _read_yaml(base_path)
        if "base" in below:
            raise ConfigError(
                f"{base_path}: a base may not have a base itself; merge the two files"
            )
        values = _merged(below, values)
        name = name or base_name
    if name:
        values.setdefault("stage", name)
    return values


def parse_override(text: str) -> tuple[str, Any]:
    """Split `key=value` (or `--key=value`) and read the value as YAML does."""
    key, equals, value = text.removeprefix("--").partition("=")
    if not equals or not _KEY.match(key):
        raise ConfigError(f"{text!r} is not of the form key=value, e.g. train.steps=1000")
    try:
        loaded = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{text!r}: {_first_line(error)}; check the value") from error
    parsed = loaded["value"] if value else ""  # type: ignore[index, call-overload]
    _refuse_interpolation(parsed, key, "command line")
    return key, parsed


def shipped_names() -> list[str]:
    """List the shipped configs as `<system>/<file>`, sorted."""
    found = _SYSTEMS.glob("*/configs/*.yaml")
    return sorted(f"{path.parent.parent.name.replace('_', '-')}/{path.stem}" for path in found)


def to_plain(config: Any) -> Any:
    """Turn a config dataclass into nested dictionaries, lists, numbers and strings."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        names = (field.name for field in dataclasses.fields(config))
        return {name: to_plain(getattr(config, name)) for name in names}
    if isinstance(config, dict):
        return {str(key): to_plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def to_yaml(config: Any) -> str:
    """Write a config as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)


def changed_keys(old: dict[str, Any], config: Any) -> list[str]:
    """Name the settings in which `config` departs from stored plain values, operational ones aside.

    The result has entries such as `optim.lr: 0.001 -> 0.01`.
    """
    before, after = dict(_flat(old)), dict(_flat(to_plain(config)))
    operational = set(_operational(config))
    return [
        f"{key}: {before.get(key, '(absent)')} -> {after.get(key, '(absent)')}"
        for key in sorted(before.keys() | after.keys())
        if key not in operational and before.get(key, MISSING) != after.get(key, MISSING)
    ]


def digest(config: Any) -> str:
    """Give a fingerprint of all settings but the operational ones."""
    operational = set(_operational(config))
    lasting = [(key, value) for key, value in _flat(to_plain(config)) if key not in operational]
    return hashlib.sha256(json.dumps(lasting).encode("utf-8")).hexdigest()


def check_limits(config: Any, where: str, prefix: str = "") -> None:
    """Hold every field declared by `setting` to its limits.

    Raises:
        ConfigError: a value outside its choices or range, with the nearest choice.
    """
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check_limits(value, where, f"{key}.")
            continue
        choices = field.metadata.get("choices", ())
        if choices and value not in choices:
            raise ConfigError(
                f"{where}: {key} is {value!r}; it must be one of {', '.join(choices)}"
                + nearest(str(value), choices)
            )
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(value, field.metadata, f"{where}: {key} is {value}")


def _check_number(value: float, limits: Any, what: str) -> None:
    minimum, above, below = (limits.get(name) for name in ("minimum", "above", "below"))
    if not math.isfinite(value):
        raise ConfigError(f"{what}; it must be a finite number")
    if minimum is not None and value < minimum:
        raise ConfigError(f"{what}; it must be at least {minimum:g}")
    if above is not None and value <= above:
        raise ConfigError(f"{what}; it must be above {above:g}")
    if below is not None and value >= below:
        raise ConfigError(f"{what}; it must be below {below:g}")


def _find(source: str) -> tuple[Path, str]:
    """Find a config: its file, and its name when it is a shipped one."""
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        return path, ""
    system, _, stage = source.partition("/")
    folder = _SYSTEMS / system.replace("-", "_") / "configs"
    for stem in (stage, stage.replace("-", "_")):
        if _NAME.match(source) and (folder / f"{stem}.yaml").is_file():
            return folder / f"{stem}.yaml", source
    names = shipped_names()
    raise ConfigError(
        f"{source!r} is neither a YAML file nor a shipped config"
        + (nearest(source, names) or f"; shipped: {', '.join(names) or 'none'}")
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file; check the path")
    try:
        # omegaconf's loader is PyYAML's safe one, with `1e-4` a number and double keys refused.
        text = io.StringIO(read_bytes(path).decode("utf-8"))
        values = OmegaConf.to_container(OmegaConf.create(OmegaConf.load(text)))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text; is this a YAML file?") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1} column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or _first_line(error)
        raise ConfigError(f"{path}:{line} {problem}; fix the YAML there") from error
    except (OmegaConfBaseException, OSError) as error:
        raise ConfigError(f"{path}: {_first_line(error)}; fix the YAML there") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no `key: value` pairs at its top level")
    _refuse_interpolation(values, "", str(path))
    return {str(key): value for key, value in values.items()}


def _refuse_interpolation(value: Any, key: str, where: str) -> None:
    for name, leaf in _flat(value, key):
        if isinstance(leaf, str) and "${" in leaf:
            raise ConfigError(f"{where}: {name} holds '${{'; write the value itself")


def _check_keys(values: dict[str, Any], config_type: type, where: str, prefix: str = "") -> None:
    """Refuse keys that the config class does not have, naming the nearest that it has."""
    hints = get_type_hints(config_type)
    fields = {field.name for field in dataclasses.fields(config_type)}
    for key, value in values.items():
        if key not in fields:
            known = [name.removeprefix(prefix) for name in _paths(config_type, prefix)]
            near = nearest(str(key), known, prefix) or _elsewhere(str(key), known, prefix, fields)
            raise ConfigError(f"{where}: unknown key {prefix}{key}{near}")
        inner = _dataclass_of(hints[key])
        if inner is not None and isinstance(value, dict):
            _check_keys(value, inner, where, f"{prefix}{key}.")
        elif inner is not None and value is not None:
            raise ConfigError(
                f"{where}: {prefix}{key} is a group of settings, not a value; "
                f"set one of its keys, e.g. {next(iter(_paths(inner, f'{prefix}{key}.')))}"
            )


def _elsewhere(key: str, known: Sequence[str], prefix: str, fields: set[str]) -> str:
    """Suggest by the last part of the path: `lr` for `optim.lr`; else list the group's keys."""
    by_leaf = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    near = difflib.get_close_matches(key, list(by_leaf), n=1, cutoff=0.6)
    if near:
        return f"; did you mean {prefix}{by_leaf[near[0]]}?"
    return f"; known here: {', '.join(sorted(fields))}"


def nearest(word: str, known: Sequence[str], prefix: str = "") -> str:
    """Phrase the suggestion of the most similar known word, empty if none is similar."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _dataclass_of(hint: Any) -> type | None:
    """Give the dataclass that a field holds, also when it is optional."""
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _paths(config_type: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(config_type)
    for field in dataclasses.fields(config_type):
        inner = _dataclass_of(hints[field.name])
        if inner is None:
            yield f"{prefix}{field.name}"
        else:
            yield from _paths(inner, f"{prefix}{field.name}.")


def _operational(config: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _operational(value, f"{prefix}{field.name}.")
        elif field.metadata.get("operational", False):
            yield f"{prefix}{field.name}"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk the leaves of nested values as (dotted key, value)."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}.{index}")
    else:
        if isinstance(value, list):
            for item in value:
                if isinstance(item, str) and "${" in item:
                    yield prefix, item
        yield prefix, value


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested dictionary over another."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _put(values: dict[str, Any], key: str, value: Any, text: str) -> None:
    *groups, last = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{text!r}: {group} is a value, not a group of settings")
    values[last] = value


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _advice(error: OmegaConfBaseException) -> str:
    key = getattr(error, "full_key", None)
    return f"check the value of {key}" if key else "check its type"
