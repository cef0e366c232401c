"""The order of the rooms, kept from source text alone: no module is imported to be judged.

Edit the lists here when the architecture changes, and the picture in the docstring of the package
with them.
"""

import ast
import graphlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The rooms of the package, a file or a folder each. A room imports only what stands before it.
SCIENCE = (
    "checks kept streams spectra slopes inputs arrays balancing teachers corruptions samples "
    "augmentations theory students training tasks measures batch ahead solving together costs "
    "trial perceptron completion"
).split()
SWEEP = (
    "axes selection chunks buckets places disk ledger origins merging provenance contract sweep "
    "spec forms layout growth store rows opening findings repeating verification packing watching "
    "forecast plan workers repairing standing execution phases ranking plots"
).split()  # imports nothing of the science half
FRONT = ["commands", "refining", "upkeep", "cli"]
ORDER = [*SCIENCE, *SWEEP, *FRONT]

# Where a heavy package may be imported.
PLACES = {
    "torch": {"students", "training", "measures", "batch", "together"},
    "triton": {"training"},
    "zarr": {"layout", "packing"},
    "obstore": {"buckets"},
    "joblib": {"workers"},
    "matplotlib": {"plots"},
    "seaborn": {"plots"},
}
DRAWERS = set(  # names that exclude nothing
    "abc base callbacks common config configs constants dataclasses exceptions factory "
    "figures helper helpers interfaces io misc paths records registry results schema settings "
    "style tools trainer types typing util utils".split()
)
LINES = 400


def problems(root: Path) -> list[str]:
    """List what is wrong with a source tree."""
    return [*_rooms(root), *_imports(root), *_sizes(root), *_studies(root), *_stub(root)]


def _modules(root: Path) -> dict[str, Path]:
    """Map dotted names of the package's modules, without its root, to their files."""
    paths = sorted((root / "tsframe").rglob("*.py"))
    named = {".".join(p.relative_to(root).with_suffix("").parts): p for p in paths}
    names = {name.removesuffix(".__init__"): path for name, path in named.items()}
    return {name: path for name, path in names.items() if name != "tsframe"}


def _rooms(root: Path) -> Iterator[str]:
    for name in _modules(root):
        if name.split(".")[1] not in ORDER:
            yield f"{name}: no room of this name is declared; its place in ORDER is missing"
    folders = [root / folder for folder in ("tsframe", "sweeps", "analysis", "tests")]
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        for part in path.relative_to(root).with_suffix("").parts:
            if part in DRAWERS:
                yield f"{path.relative_to(root)}: {part} is a drawer; put it beside its user"


def _imports(root: Path) -> Iterator[str]:
    modules = _modules(root)
    inside: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        room = name.split(".")[1]
        for line, target, fault in imported(path, set(modules)):
            where = f"{name} line {line}"
            if fault:
                yield f"{where}: {fault}"
                continue
            package, *rest = target.split(".")
            if package in PLACES and room not in PLACES[package]:
                yield f"{where}: {package} has its place in {', '.join(sorted(PLACES[package]))}"
            if package != "tsframe":
                continue
            other = rest[0]
            if other == room:
                inside[name].add(target)
            elif room in SWEEP and other in SCIENCE:
                yield f"{where}: the sweep half imports {other} of the science half"
            elif other not in ORDER or room not in ORDER:
                yield f"{where}: imports {target}, and one of the two has no declared place"
            elif ORDER.index(other) > ORDER.index(room):
                yield f"{where}: imports {other}, which stands after {room}"
    try:
        graphlib.TopologicalSorter(inside).prepare()
    except graphlib.CycleError as cycle:
        yield f"modules import each other in a circle: {' -> '.join(cycle.args[1])}"


def imported(path: Path, modules: set[str]) -> Iterator[tuple[int, str, str]]:
    """Find every import of a file, those inside of functions too.

    Yields
    ------
    tuple
        Line, dotted name of the module, and a fault of form or "".
    """
    for node in _nodes(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            for alias in node.names:
                inner = alias.name.split(".")[0] == "tsframe"
                fault = f"write from {alias.name} import ..." if inner else ""
                yield node.lineno, alias.name, fault
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                yield node.lineno, module, f"relative import of {'.' * node.level}{module}"
            elif module == "tsframe":
                yield node.lineno, module, "import from the root of the package"
            else:
                for alias in node.names:
                    submodule = f"{module}.{alias.name}"
                    yield node.lineno, submodule if submodule in modules else module, ""
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).split(".")[-1]
            target = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(target, ast.Constant):
                fault = "" if "." in str(target.value) else "import from the root of the package"
                inner = str(target.value).split(".")[0] == "tsframe"
                yield node.lineno, str(target.value), fault if inner else ""


@cache  # a planted fault changes one file of many
def _nodes(source: str) -> list[ast.AST]:
    kinds = (ast.Import, ast.ImportFrom, ast.Call)
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def _sizes(root: Path) -> Iterator[str]:
    for folder in ("tsframe", "sweeps", "analysis", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LINES:
                yield f"{path.relative_to(root)}: {lines} lines, more than {LINES}"


def _studies(root: Path) -> Iterator[str]:
    sweeps, analyses = (
        {path.stem for path in (root / folder).glob("*.py")} for folder in ("sweeps", "analysis")
    )
    for name in sorted(analyses - sweeps):
        yield f"analysis/{name}.py has no sweeps/{name}.py"
    for name in sorted(sweeps - analyses):
        yield f"sweeps/{name}.py has no analysis/{name}.py"


def _stub(root: Path) -> Iterator[str]:
    # Its imports are relative because the lazy loader reads no other form.
    stub = root / "tsframe" / "__init__.pyi"
    order = []
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom) or node.level != 1:
            yield f"{stub.name} line {node.lineno}: is not from .module import Name as Name"
            continue
        # `from . import plots as plots` makes a module public under its own name.
        for module in [node.module] if node.module else [alias.name for alias in node.names]:
            if f"tsframe.{module}" not in list(_modules(root)):
                yield f"{stub.name} line {node.lineno}: there is no module {module}"
        order.append(node.module or "")
        names = [alias.name for alias in node.names]
        for alias in node.names:
            if alias.asname != alias.name:
                yield f"{stub.name} line {node.lineno}: write {alias.name} as {alias.name}"
        if names != sorted(names, key=str.casefold):
            yield f"{stub.name} line {node.lineno}: the names are not in alphabetical order"
    if order != sorted(order):
        yield f"{stub.name}: the modules are not in alphabetical order"


def test_every_module_keeps_to_its_place() -> None:
    assert problems(ROOT) == []


def append(file: str, text: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        path = root / file
        path.parent.mkdir(exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(f"{before}\n{text}\n", encoding="utf-8")

    return plant


INDENTED = "def f() -> None:\n    "
GUARDED = "if TYPE_CHECKING:\n    "
FAULTS = {
    "an upstream module imports a downstream one": (
        append("tsframe/spectra.py", "from tsframe.inputs import Gaussian"),
        "imports inputs, which stands after spectra",
    ),
    "inside a function": (
        append("tsframe/inputs.py", INDENTED + "from tsframe.trial import Trial"),
        "imports trial, which stands after inputs",
    ),
    "for the type checker": (
        append("tsframe/inputs.py", GUARDED + "from tsframe.trial import Trial"),
        "imports trial, which stands after inputs",
    ),
    "by import_module": (
        append("tsframe/inputs.py", "importlib.import_module('tsframe.trial')"),
        "imports trial, which stands after inputs",
    ),
    "a folder imports a downstream one": (
        append("tsframe/students/mlp.py", "from tsframe.training.sgd import SGD"),
        "tsframe.students.mlp line",
    ),
    "the sweep half imports the science half": (
        append("tsframe/store.py", "from tsframe.streams import stream"),
        "the sweep half imports streams of the science half",
    ),
    "plots import the science half": (
        append("tsframe/plots/lines.py", "from tsframe.teachers import Teacher"),
        "the sweep half imports teachers of the science half",
    ),
    "import instead of from": (
        append("tsframe/inputs.py", "import tsframe.spectra"),
        "write from tsframe.spectra import ...",
    ),
    "import of the root": (append("tsframe/inputs.py", "import tsframe"), "write from tsframe"),
    "import from the root": (
        append("tsframe/inputs.py", "from tsframe import Sloppy"),
        "import from the root of the package",
    ),
    "a relative import": (
        append("tsframe/inputs.py", "from .spectra import Sloppy"),
        "relative import of .spectra",
    ),
    "a circle in a folder": (
        append("tsframe/plots/words.py", "from tsframe.plots.lines import error_against"),
        "import each other in a circle",
    ),
    "a circle through the head of a folder": (
        append("tsframe/plots/words.py", "from tsframe.plots import error_against"),
        "import each other in a circle",
    ),
    "a drawer": (append("tsframe/utils.py", ""), "utils is a drawer"),
    "a drawer in a folder": (append("tsframe/students/helpers.py", ""), "helpers is a drawer"),
    "a drawer among tests": (append("tests/common.py", ""), "common is a drawer"),
    "a room that is not declared": (append("tsframe/attic.py", ""), "tsframe.attic: no room"),
    "a folder that is not declared": (
        append("tsframe/cellar/wine.py", ""),
        "tsframe.cellar.wine: no room",
    ),
    "torch among the generators": (
        append("tsframe/samples.py", "from torch import Tensor"),
        "torch has its place in",
    ),
    "torch in the sweep half": (
        append("tsframe/plan.py", "import torch.nn"),
        "torch has its place",
    ),
    "zarr outside of the store": (
        append("tsframe/opening.py", "import zarr"),
        "zarr has its place",
    ),
    "joblib in the science half": (
        append("tsframe/trial.py", INDENTED + "import joblib"),
        "joblib has its place in workers",
    ),
    "seaborn outside of plots": (
        append("tsframe/sweep.py", "import seaborn as sns"),
        "seaborn has its place in plots",
    ),
    "matplotlib outside of plots": (
        append("tsframe/measures/errors.py", "import matplotlib.pyplot as plt"),
        "matplotlib has its place in plots",
    ),
    "a file too long": (append("tsframe/streams.py", "#\n" * 400), "streams.py: "),
    "a test file too long": (append("tests/test_attic.py", "#\n" * 401), "test_attic.py: "),
    "figures without a sweep": (append("analysis/attic.py", ""), "has no sweeps/attic.py"),
    "a sweep without figures": (append("sweeps/attic.py", ""), "has no analysis/attic.py"),
    "a public name out of order": (
        append("tsframe/__init__.pyi", "from .axes import describe as describe"),
        "the modules are not in alphabetical order",
    ),
    "public names out of order": (
        append("tsframe/__init__.pyi", "from .zoo import Bear as Bear, Ape as Ape"),
        "the names are not in alphabetical order",
    ),
    "a public name under another": (
        append("tsframe/__init__.pyi", "from .trial import Trial as Try"),
        "write Trial as Trial",
    ),
    "a public name of no module": (
        append("tsframe/__init__.pyi", "from .zoo import Ape as Ape"),
        "there is no module zoo",
    ),
    "code in the stub": (
        append("tsframe/__init__.pyi", "__version__: str"),
        "is not from .module import Name as Name",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    plant, sentence = FAULTS[fault]
    for folder in ("tsframe", "sweeps", "analysis"):
        keep_text = shutil.ignore_patterns("__pycache__", "*.zarr", "*.png")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=keep_text)
    before = problems(tmp_path)
    plant(tmp_path)
    found = [problem for problem in problems(tmp_path) if problem not in before]
    assert any(sentence in problem for problem in found), found


@pytest.mark.parametrize(
    ("half", "heavy"),
    [(SCIENCE, {"zarr", "joblib", "matplotlib", "seaborn"}), (SWEEP, {"torch"})],
    ids=["science", "sweep"],
)
def test_a_half_works_where_the_packages_of_the_other_are_missing(
    half: list[str], heavy: set[str]
) -> None:
    rooms = {name for name in _modules(ROOT) if name.split(".")[1] in half}
    program = f"""
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(heavy)!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
for module in {sorted(rooms)!r}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
