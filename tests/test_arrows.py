"""The arrows between the packages point down only, and no module or function grows out of hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "pipelines", "model", "training")
OURS = {*PACKAGES, "acetate", "infra", "tests"}
MODULES = [
    "acetate.py",
    *sorted(path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
]

ALLOWED = {
    "schemas": set(),
    "pipelines": {"schemas"},
    "model": set(),
    "training": {"schemas", "model"},
    "acetate.py": {"pipelines", "training"},
}
EXCEPTIONS = {
    "pipelines/latents.py": {"model"},
    "training/generate.py": {"pipelines"},
}
FORBIDDEN_OUTSIDE = {"schemas": {"ray", "torch", "fsspec", "typer"}, "model": {"fsspec", "ray", "typer"}}

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_ENTRY_LINES = 80


def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), module)


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level names a module imports, at its head, inside functions and for types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if node.level == 0 else "a relative import"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value.partition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    package = module.partition("/")[0]
    allowed = ALLOWED[package] | EXCEPTIONS.get(module, set()) | {package}
    names = set(imported(parsed(module)))
    assert "a relative import" not in names
    assert not (names & OURS) - allowed
    assert not names & FORBIDDEN_OUTSIDE.get(package, set())


def test_the_scan_sees_every_way_to_import() -> None:
    code = (
        "import schemas.design\nfrom model import x\ndef f():\n    import training\n"
        "import importlib\nimportlib.import_module('pipelines.build')\nfrom . import sibling\n"
    )
    assert {*OURS & set(imported(ast.parse(code)))} == {"schemas", "model", "training", "pipelines"}
    assert "a relative import" in set(imported(ast.parse(code)))


def test_the_scan_covers_all_packages() -> None:
    assert {module.partition("/")[0] for module in MODULES} == {*PACKAGES, "acetate.py"}
    assert len(MODULES) > len(PACKAGES) * 2


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_stay_short(module: str) -> None:
    lines = (ROOT / module).read_text(encoding="utf-8").count("\n")
    assert lines <= (MAX_ENTRY_LINES if module == "acetate.py" else MAX_MODULE_LINES)
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(parsed(module)), f"{module} has no docstring"


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("training/streaming/")])
def test_a_worker_process_starts_without_torch(module: str) -> None:
    assert "torch" not in set(imported(parsed(module)))


SHARED = {"pipelines.formats.tree", "pipelines.formats.style"}


def test_formats_and_flatten_share_the_tree_alone() -> None:
    for path in (ROOT / "pipelines").glob("f*/*.py"):
        names = {
            node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        other = "pipelines.flatten" if path.parent.name == "formats" else "pipelines.formats"
        assert {name for name in names if name.startswith(other)} <= SHARED, path


@pytest.mark.parametrize("module", MODULES)
def test_parquet_is_read_without_arrows_threads(module: str) -> None:
    """A thread of Arrow that still holds a Python file when the interpreter ends aborts the process (arrow#34314)."""
    for call in (node for node in ast.walk(parsed(module)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        assert name != "read_table", f"{module}:{call.lineno}"
        if name in ("read_row_group", "read_row_groups", "iter_batches"):
            assert any(word.arg == "use_threads" for word in call.keywords), f"{module}:{call.lineno}"
