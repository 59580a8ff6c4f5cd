"""The rules of the house: sizes, the map, what stands at the top, what no file may say."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import neuroroute

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX, FUNCTION_LINES_MAX = 500, 60
TOP_LEVEL = {
    "neuroroute", "migrations", "tests", "deploy", "docker-compose.yml", "Dockerfile", "pyproject.toml", "Makefile", "README.md",
    "LICENSE", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md",
}  # fmt: skip
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".sql", ".sh", ".html", ".css", ".js", ".c", ".example", ".cfg", ""}


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the project: what git knows; in a tree without git, what lies there."""
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if found.returncode == 0 and found.stdout:
        return tuple(path for name in found.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())
    return tuple(
        path for folder in ("neuroroute", "tests", "migrations", "deploy") for path in (ROOT / folder).rglob("*") if path.is_file()
    )


def python_files(*folders: str) -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a file with its length in lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_the_rules_see_the_project():
    assert len(python_files("neuroroute")) > 50 and len(python_files("tests")) > 20


def test_no_two_test_files_have_one_name():
    """pytest takes the second for the first, and collects nothing at all."""
    names = [path.name for path in python_files("tests") if path.name.startswith("test_")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_file_is_longer_than_500_lines():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files("neuroroute", "tests")
    }
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_60_lines():
    long = {
        f"{path.relative_to(ROOT)}: {name}": lines
        for path in python_files("neuroroute")
        for name, lines in functions(path)
        if lines > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_the_map_names_every_module():
    """The docstring of the package is the map: each module of a floor, and each package below one, has its word there."""
    words = set(re.findall(r"[A-Za-z_0-9]+", neuroroute.__doc__ or ""))
    missing = set()
    for path in python_files("neuroroute"):
        parts = path.relative_to(ROOT / "neuroroute").with_suffix("").parts
        name = parts[min(len(parts) - 1, 1)]
        if parts[-1] == "__init__" and len(parts) == 2:
            name = parts[0]
        if name not in words and parts != ("__init__",):
            missing.add("/".join(parts[:2]))
    assert missing == set()


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files("neuroroute")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_names_say_something():
    parts = {part for path in python_files("neuroroute") for part in path.relative_to(ROOT).with_suffix("").parts}
    assert parts & NAMES_THAT_SAY_NOTHING == set()


def test_the_top_level_is_the_agreed_one():
    top = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} - TOP_LEVEL == set()
    assert {"neuroroute", "migrations", "tests", "deploy", "Dockerfile", "Makefile", "README.md", "LICENSE", "pyproject.toml"} <= top


BANNED = {
    "work that is put off": r"\b(TODO|FIXME|XXX|HACK)\b",
    "a path of somebody's machine": r"(?<![\w.~/-])/(?:work|builds|Users|root|home)/[a-z][\w.-]*",
    "a debugger": r"\b(breakpoint|pdb\.set_trace)\(",
    "a credential": r"\b(sk-(?:proj|ant|live)-[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|ghp_[A-Za-z0-9]{30,}|-----BEGIN [A-Z ]*PRIVATE KEY-----)",
    "a merge that was not finished": r"^(<{7}|>{7}) ",
    "a package index of somebody's own": r"(?:--|\b)(?:extra-)?index[-_]url\b",
}


SAID_IN_TESTS = {"work that is put off", "a path of somebody's machine", "a credential", "a package index of somebody's own", "a debugger"}


@pytest.mark.parametrize("what", BANNED)
def test_no_file_holds(what):
    pattern = re.compile(BANNED[what], re.MULTILINE)
    found = []
    for path in tracked():
        a_test = path.is_relative_to(ROOT / "tests")  # tests say such things on purpose
        if path.suffix not in TEXT_SUFFIXES or "corpus" in path.parts or (a_test and what in SAID_IN_TESTS):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line) and not ("tests" in path.parts and what in ("a credential", "work that is put off")):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == []
