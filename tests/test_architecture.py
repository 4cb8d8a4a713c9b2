"""What holds for every source file of the three packages, read from their syntax trees."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from jaxtyping import TypeCheckError

from ablations.registry import ABLATIONS
from directanimator.errors import did_you_mean

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ablations", "directanimator", "experiments")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(tree: ast.Module) -> set[str]:
    """Dotted names of all modules that are imported anywhere in the file, also inside functions."""
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def imported_packages(tree: ast.Module) -> set[str]:
    return {module.split(".")[0] for module in imported_modules(tree)}


def loads_that_may_unpickle(tree: ast.Module) -> Iterator[int]:
    """Lines of torch.load without a literal weights_only=True, and of any call with a truthy allow_pickle."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if ast.unparse(call.func) == "torch.load" and not _is_literal(given.get("weights_only"), True):
            yield call.lineno
        if "allow_pickle" in given and not _is_literal(given["allow_pickle"], False):
            yield call.lineno


def _is_literal(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def undocumented(tree: ast.Module) -> list[str]:
    """Names of public functions and classes, and of public methods of public classes, without a docstring."""
    return [name for name, node in _public_definitions(tree) if ast.get_docstring(node) is None]


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _public_definitions(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[str, Definition]]:
    for node in scope.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{name}", method) for name, method in _public_definitions(node))


def offenders(paths: list[Path], finding: Callable[[ast.Module], Iterable[object]]) -> list[str]:
    """`file: what` for everything that the finding reports on the files."""
    return [f"{path.relative_to(ROOT)}: {found}" for path in paths for found in finding(parsed(path))]


def test_no_module_has_a_name_that_says_nothing():
    named = {path: {path.stem, path.parent.name} for path in SOURCES}
    assert [str(path.relative_to(ROOT)) for path, names in named.items() if names & VAGUE_NAMES] == []


def test_only_the_tracking_room_imports_mlflow():
    others = [path for path in SOURCES if path.parent != ROOT / "experiments" / "tracking"]
    assert offenders(others, lambda tree: imported_packages(tree) & {"mlflow"}) == []


def test_only_studies_and_their_storage_import_optuna():
    importers = {path for path in SOURCES if imported_packages(parsed(path)) & {"optuna", "optuna_dashboard"}}
    assert importers == {ROOT / "experiments" / "sweeps" / f"{name}.py" for name in ("search", "storage")}


def test_nothing_imports_a_pickling_module():
    assert offenders(SOURCES, lambda tree: imported_packages(tree) & PICKLING) == []


def test_nothing_loads_what_may_be_a_pickle():
    assert offenders(SOURCES, loads_that_may_unpickle) == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "numpy.load(path, allow_pickle=True)",
    ],
)
def test_a_load_that_may_unpickle_is_found(source):
    assert list(loads_that_may_unpickle(ast.parse(source))) == [1]


@pytest.mark.parametrize("source", ["torch.load(path, weights_only=True)", "numpy.load(path, allow_pickle=False)"])
def test_a_load_that_cannot_unpickle_is_let_through(source):
    assert list(loads_that_may_unpickle(ast.parse(source))) == []


def test_everything_public_in_the_library_has_a_docstring():
    library = [path for path in SOURCES if path.is_relative_to(ROOT / "directanimator")]
    assert offenders(library, undocumented) == []


def test_a_public_method_without_a_docstring_is_found():
    source = 'class A:\n    """Doc."""\n    def shown(self): ...\n    def _hidden(self): ...\n'
    assert undocumented(ast.parse(source)) == ["A.shown"]


def test_no_file_that_checks_shapes_postpones_its_annotations():
    """Postponed annotations are strings, so the run-time checks of shapes would see nothing."""
    modules = [(path, imported_modules(parsed(path))) for path in SOURCES]
    assert [path for path, names in modules if {"__future__", "jaxtyping"} <= names] == []


def test_every_package_in_use_is_declared():
    """What is only there because another package needs it may vanish with that package's next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    declared = {_normalized(line) for line in project["dependencies"] + extras}
    used = {name for path in SOURCES for name in imported_packages(parsed(path))} - set(PACKAGES)
    providers = packages_distributions()
    undeclared = {
        name
        for name in used - sys.stdlib_module_names
        if not declared & {_normalized(distribution) for distribution in providers.get(name, [name])}
    }
    assert undeclared == set()


def _normalized(requirement: str) -> str:
    """Name of a distribution as indexes compare it, without version."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement).group()).lower()


def test_the_claim_ledger_names_only_files_that_exist():
    ledger = (ROOT / "research" / "paper.md").read_text(encoding="utf-8")
    named = {path for path in re.findall(r"`([a-z0-9_/]+\.py)`", ledger) if "/" in path}
    places = ("directanimator", "tests/directanimator")
    assert sorted(path for path in named if not any((ROOT / place / path).exists() for place in places)) == []


def test_the_claim_ledger_asks_every_ablation():
    ledger = (ROOT / "research" / "paper.md").read_text(encoding="utf-8")
    assert [name for name in ABLATIONS if f"`{name}`" not in ledger] == []


def test_the_test_run_checks_types_in_the_library():
    """Guards the option --jaxtyping-packages: without it every shape in a signature is mere prose."""
    with pytest.raises(TypeCheckError):
        did_you_mean(3, [])
