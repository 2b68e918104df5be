"""What may not stand in the sources: ways to run foreign code, leftovers, files grown too long."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pyvqa", "csrc", "cmake", "benchmarks")
SUFFIXES = (".py", ".h", ".cpp", ".cu", ".cmake", ".js", ".css", ".yaml")

FORBIDDEN = {
    "unpickling": r"\b(?:c?[pP]ickle|marshal|dill|joblib|shelve)\b(?!s)",
    "eval or exec": r"(?<![\w.\"'-])(?:eval|exec)\s*\(",
    "a shell": r"\bos\.(?:system|popen)\b|shell\s*=\s*True",
    "unsafe YAML": r"\byaml\.(?:load|unsafe_load|full_load)\s*\(",
    "object arrays": r"allow_pickle\s*=\s*True",
    "unsafe weights": r"weights_only\s*=\s*False",
    "foreign code": r"trust_remote_code",
    "unfinished work": r"\b(?:TODO|FIXME|XXX|HACK)\b",
    "fast-math": r"(?<!Never )-ffast-math",
    "a tuned build": r"-march=native(?!, so)",
}


def sources() -> list[Path]:
    return sorted(
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES and path.is_file() and path.name != "_build_info.py"
    )


def code_of(path: Path) -> str:
    """The file without comments and docstrings, line numbers kept."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return _python_code(text)
    if path.suffix in (".cmake", ".yaml"):
        return re.sub(r"#.*", "", text)
    blank = lambda match: "\n" * match.group().count("\n")  # noqa: E731
    return re.sub(r"//[^\n]*|/\*.*?\*/", blank, text, flags=re.S)


def _python_code(text: str) -> str:
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if alone and isinstance(node.value.value, str):
            for number in range(node.lineno - 1, node.end_lineno):
                lines[number] = ""
    return "\n".join(re.sub(r"(?:^|\s)#.*", "", line) for line in lines)


def found(text: str, name: str) -> list[int]:
    pattern = re.compile(FORBIDDEN[name])
    return [number for number, line in enumerate(text.split("\n"), 1) if pattern.search(line)]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_nothing_forbidden(name: str) -> None:
    whole = name == "unfinished work"
    places = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        for line in found(path.read_text(encoding="utf-8") if whole else code_of(path), name)
    ]
    assert places == [], f"{name}: {', '.join(places)}"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("unpickling", "import pickle"),
        ("unpickling", "cPickle.load(f)"),
        ("eval or exec", "x = eval(text)"),
        ("eval or exec", "exec (code)"),
        ("a shell", "os.system('ls')"),
        ("a shell", "subprocess.run(c, shell=True)"),
        ("unsafe YAML", "yaml.load(f)"),
        ("object arrays", "np.load(f, allow_pickle=True)"),
        ("unsafe weights", "torch.load(f, weights_only=False)"),
        ("foreign code", "from_pretrained(n, trust_remote_code=True)"),
        ("unfinished work", "# TODO later"),
        ("fast-math", "add_compile_options(-ffast-math)"),
        ("a tuned build", "-march=native"),
    ],
)
def test_the_scan_finds(name: str, line: str) -> None:
    assert found(line, name) == [1]


@pytest.mark.parametrize("line", ["model.eval()", "network.eval()", "re.exec(x)", '"--eval(x)"'])
def test_the_scan_lets_pass(line: str) -> None:
    assert found(line, "eval or exec") == []


def test_files_stay_readable() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): count
        for path in sources()
        if path.suffix in (".py", ".h", ".cpp", ".cu")
        and (count := len(path.read_text(encoding="utf-8").split("\n"))) > 600
    }
    assert long == {}


def _narrows(node: ast.AST) -> bool:
    """`assert x is not None` tells the type checker something; it checks no input."""
    return (
        isinstance(node, ast.Assert)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.ops[0], ast.IsNot)
    )


def test_no_bare_except_and_no_assert_for_input() -> None:
    places = []
    for path in sources():
        if path.suffix != ".py" or ROOT / "pyvqa" not in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            bare = isinstance(node, ast.ExceptHandler) and node.type is None
            if bare or (isinstance(node, ast.Assert) and not _narrows(node)):
                places.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert places == []


def test_the_sources_speak_of_the_project_alone() -> None:
    """No path of a machine that the work happened on."""
    machine = re.compile(r"/(?:work|home|root|tmp)/|\.\./shared|design\.md|notes/")
    places = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
        if machine.search(line)
    ]
    assert places == []


def test_test_modules_have_names_of_their_own() -> None:
    """Outside packages pytest knows a test module by its bare name, so two of one name clash."""
    names: dict[str, list[str]] = {}
    for folder in ("tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "conftest.py" and not (path.parent / "__init__.py").is_file():
                names.setdefault(path.name, []).append(path.relative_to(ROOT).as_posix())
    assert [paths for paths in names.values() if len(paths) > 1] == []
