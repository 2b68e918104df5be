"""Imports point one way through the house; systems know nothing of each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "pyvqa"

# From the ground up. A module may import what lies lower, never what lies higher; within one layer
# only itself, and what ALLOWED says.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "files", "_native", "_core", "_build_info", "_ops", "inventory", "zoo"),
    ("ops", "evidence"),
    ("data", "metrics", "nn", "programs"),
    ("world", "train"),
    ("systems",),
    ("cli", "serve", "view"),
)
ALLOWED = {("train", "metrics"), ("data", "programs"), ("metrics", "programs"), ("cli", "view")}
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        yield ".".join(parts), ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = list(modules())


def imported(tree: ast.Module, module: str) -> Iterator[tuple[str, int]]:
    """Every pyvqa module that is imported, relative to pyvqa, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"pyvqa/{module}: line {node.lineno}: imports are absolute"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            (name.removeprefix("pyvqa."), node.lineno)
            for name in names
            if name.startswith("pyvqa.")
        )


def violation(source: str, target: str) -> str | None:
    """Say why `source` may not import `target` (dotted names below pyvqa), None if it may."""
    here, there = source.split("."), target.split(".")
    if there[0] not in LEVEL:
        return None  # a name of the package itself, e.g. `from pyvqa import __version__`
    if here[0] not in LEVEL:
        return f"{here[0]} belongs to no layer"
    if here[0] == there[0]:
        crosses = here[0] == "systems" and len(here) > 1 and len(there) > 1 and here[1] != there[1]
        both_systems = crosses and (ROOT / "systems" / there[1]).is_dir()
        return "a system imports another system" if both_systems else None
    if here[0] == "view" and there[0] == "systems":
        return "view knows no system"
    if LEVEL[there[0]] < LEVEL[here[0]] or (here[0], there[0]) in ALLOWED:
        return None
    return None if LEVEL[here[0]] == LEVEL[there[0]] == 0 else "imports point one way"


@pytest.mark.parametrize(("source", "tree"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_point_one_way(source: str, tree: ast.Module) -> None:
    if not source:  # pyvqa/__init__.py offers `load` from above, when asked for
        return
    wrong = [
        f"line {line}: {source} imports {target}: {why}"
        for target, line in imported(tree, source)
        if (why := violation(source, target))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("programs.scenes", "systems.ns_vqa"),
        ("ops.execute", "programs.clevr"),
        ("nn.recurrent", "train.loop"),
        ("systems.ns_vqa.model", "cli.main"),
        ("view.trace", "systems.ns_vqa"),
        ("evidence", "programs.clevr"),
        ("nn.recurrent", "data.vocabulary"),
        ("unheard_of", "ops.execute"),
    ],
)
def test_a_wrong_import_is_found(source: str, target: str) -> None:
    assert violation(source, target) is not None


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("cli.demo", "view.trace"),
        ("train.loop", "metrics.clevr"),
        ("world.questions", "programs.clevr"),
        ("programs.explain", "evidence"),
        ("ops.execute", "_core"),
    ],
)
def test_a_right_import_passes(source: str, target: str) -> None:
    assert violation(source, target) is None


@pytest.mark.parametrize(("source", "tree"), MODULES, ids=[name for name, _ in MODULES])
def test_kernels_and_layers_know_no_surroundings(source: str, tree: ast.Module) -> None:
    """`nn` and `ops` take numbers and tensors: no config, no path, no logging."""
    if source.split(".")[0] not in ("nn", "ops"):
        return
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    assert not names & {"pathlib", "os", "logging", "omegaconf", "argparse", "json"}


@pytest.mark.parametrize(("source", "tree"), MODULES, ids=[name for name, _ in MODULES])
def test_only_the_command_line_prints_or_exits(source: str, tree: ast.Module) -> None:
    if source.split(".")[0] == "cli":
        return
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    printing = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    exiting = [
        c.lineno
        for c in calls
        if isinstance(c.func, ast.Attribute) and ast.unparse(c.func) in ("sys.exit", "os.abort")
    ]
    assert printing + exiting == []


def test_importing_pyvqa_brings_no_system_and_no_extra() -> None:
    code = (
        "import sys, pyvqa, pyvqa.cli.main\n"
        "heavy = ['plotly', 'omegaconf', 'h5py', 'transformers', 'pyvqa.systems', 'pyvqa.world']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
