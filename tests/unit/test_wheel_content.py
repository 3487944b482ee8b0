"""What a wheel of this project carries: every file that code reads beside itself, and what the bare install needs."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("dispatcher", "providers", "strategies", "workers")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built here and now, without a network."""
    pytest.importorskip("hatchling", reason="the build backend is not installed here")
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def tracked(*patterns: str) -> set[str]:
    """Files of the packages as they stand in the checkout."""
    found = {path for package in PACKAGES for pattern in patterns for path in (ROOT / package).rglob(pattern)}
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts and path.is_file()}


def test_every_file_of_the_packages_is_in_the_wheel(wheel: set[str]) -> None:
    assert tracked("*") - {name for name in tracked("*") if name.endswith(".pyc")} <= wheel


@pytest.mark.parametrize(
    "pattern", ["*.lua", "*.yaml", "*.mako", "versions/*.py", "js/pushpath.js", "js/pushpath.d.ts", "py.typed"]
)
def test_what_code_reads_beside_itself_is_among_them(wheel: set[str], pattern: str) -> None:
    expected = tracked(pattern)
    assert expected
    assert expected <= wheel


def test_nothing_else_is_in_it(wheel: set[str]) -> None:
    assert {name.partition("/")[0] for name in wheel if ".dist-info/" not in name} == set(PACKAGES)


def test_the_sdk_imports_nothing_that_a_bare_install_lacks() -> None:
    """Follows the imports from dispatcher.client: each is our own, the standard library or a plain dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {requirement.split(">")[0].strip() for requirement in project["dependencies"]} | sys.stdlib_module_names
    waiting, seen, foreign = {"dispatcher.client"}, set[str](), set[str]()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        path = ROOT / module.replace(".", "/")
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not source.exists():
            continue  # a name inside a module
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                continue
            own = {name for name in names if name.partition(".")[0] in PACKAGES}
            waiting |= own - seen
            foreign |= {name.partition(".")[0] for name in names - own}
    assert foreign <= allowed
    assert not {name for name in seen if name.startswith(("dispatcher.hot", "dispatcher.gateway", "dispatcher.ledger"))}
