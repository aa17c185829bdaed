"""The layering of the packages, read from their import statements."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("detectors", "datamodules", "callbacks", "experiments")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SHARED = ("detectors.structures", "detectors.errors", "detectors.ops")
STANDARD_NAMES = {"types", "logging", "profile", "queue", "random", "copy", "inspect", "select"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every dotted name a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_from(path: Path, *prefixes: str) -> set[str]:
    return {
        name for name in imports(path) for p in prefixes if name == p or name.startswith(f"{p}.")
    }


def below(*folders: str) -> list[Path]:
    return [p for p in FILES if any(str(p.relative_to(ROOT)).startswith(f) for f in folders)]


def test_there_is_something_to_check():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", below("detectors"), ids=module_name)
def test_detectors_know_nothing_of_data_callbacks_or_experiments(path: Path):
    assert not imported_from(path, "datamodules", "callbacks", "experiments")


@pytest.mark.parametrize("path", below("detectors"), ids=module_name)
def test_only_lit_imports_lightning_in_detectors(path: Path):
    if path.name != "lit.py":
        assert not imported_from(path, "lightning", "pytorch_lightning")


@pytest.mark.parametrize("path", below("detectors", "datamodules", "callbacks"), ids=module_name)
def test_only_experiments_knows_hydra(path: Path):
    assert not imported_from(path, "hydra", "omegaconf")


@pytest.mark.parametrize("path", below("datamodules", "callbacks"), ids=module_name)
def test_data_and_callbacks_take_only_the_shared_language_from_detectors(path: Path):
    assert all(name.startswith(SHARED) for name in imported_from(path, "detectors"))


@pytest.mark.parametrize("path", below("datamodules"), ids=module_name)
def test_datamodules_know_no_callbacks_and_no_experiments(path: Path):
    assert not imported_from(path, "callbacks", "experiments")


@pytest.mark.parametrize("path", below("callbacks"), ids=module_name)
def test_callbacks_know_no_datamodules_and_no_experiments(path: Path):
    assert not imported_from(path, "datamodules", "experiments")


@pytest.mark.parametrize("path", below("callbacks/metrics"), ids=module_name)
def test_metrics_know_no_lightning(path: Path):
    assert not imported_from(path, "lightning")


@pytest.mark.parametrize("path", below("detectors/ops"), ids=module_name)
def test_ops_stand_at_the_bottom(path: Path):
    allowed = ("detectors.ops", "detectors.structures", "detectors.errors")
    assert all(name.startswith(allowed) for name in imported_from(path, "detectors"))


@pytest.mark.parametrize("path", below("detectors/families"), ids=module_name)
def test_a_family_imports_no_other_family(path: Path):
    family = path.stem.split("_")[0]
    for name in imported_from(path, "detectors.families"):
        assert name.split(".")[2].split("_")[0] == family


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_importing_a_module_runs_nothing(path: Path):
    """Only definitions stand at the top level: no calls whose result nobody keeps."""
    for node in ast.parse(path.read_text()).body:
        is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        assert not is_call, f"{path}:{node.lineno} runs on import"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_global_statement(path: Path):
    assert not any(isinstance(node, ast.Global) for node in ast.walk(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_file_is_named_after_a_standard_module(path: Path):
    assert path.stem not in STANDARD_NAMES


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_stay_small(path: Path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 50, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize(
    "name", ["cli", "build", "data", "runs", "train", "provenance", "mistakes", "launch", "sweep"]
)
def test_what_answers_before_training_imports_no_torch(name: str):
    """`lineup --help`, `--cfg job`, a stored result and a sweep's parent stay quick."""
    heavy = ("torch", "lightning", "timm", "albumentations", "detectors.structures", "datamodules")
    tree = ast.parse((ROOT / "experiments" / f"{name}.py").read_text())
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in top if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in top if isinstance(n, ast.ImportFrom)}
    assert not [n for n in names if n.split(".")[0] in heavy or n in heavy]
