"""The shape of the source: imports go one way, public names are documented."""

import ast
import graphlib
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from common import ACTIVATIONS, CONDITIONALS, DATA, KINDS, MODELS, OUTPUTS, SMALL, run_python

import fastar
from fastar import (
    callbacks,
    conditionals,
    models,
    onnx,
    optimizers,
    persistence,
    plotting,
    schedules,
    tools,
)
from fastar.networks import _shared_hidden

PACKAGE = Path(fastar.__file__).parent

# Rooms: the files that users import, and folders. A room imports only from floors below its own.
FLOORS = [
    {"_kernels", "schedules"},
    {"_core"},
    {"_data", "optimizers", "datasets", "plotting"},
    {"networks", "conditionals"},
    {"_engine", "persistence"},
    {"callbacks"},
    {"models"},
    {"tools", "demo", "onnx", "dask"},
    {"cli"},
    {"fastar"},  # the package's own __init__
]


def modules(package):
    """Return the files of a package by their dotted names; a folder's __init__ has the folder's."""
    found = {}
    for path in sorted(package.rglob("*.py")) + sorted(package.rglob("*.pyi")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = sorted(name for name, path in modules(PACKAGE).items() if path.suffix == ".py")


def imports(path):
    """Return every import: (name, whether in a function or for type checkers alone)."""
    found = []

    def visit(node, late):
        if isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            found.extend((f"{start}.{alias.name}", late) for alias in node.names)
        elif isinstance(node, ast.Import):
            found.extend((alias.name, late) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found.append((ast.literal_eval(node.args[0]), late))
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, late or typing or function)

    visit(ast.parse(path.read_text()), False)
    return found


def arrows(package):
    """Return which file imports which of the package, late or not: pairs of dotted names."""
    files, found = modules(package), set()
    for module, path in files.items():
        for name, _ in imports(path):
            if name.split(".")[0] == package.name:
                while name not in files:  # a class or function, or a compiled module
                    name = name.rpartition(".")[0]
                found.add((module, name))
    return found


def room(module):
    return module.split(".")[1] if "." in module else module


def faults(package, floors):
    """Return, a line each, what in the package's tree is against the plan of its floors."""
    files, found = modules(package), []
    height = {name: floor for floor, names in enumerate(floors) for name in names}
    rooms = {room(module) for module in files}
    found += [f"{name} is on no floor" for name in sorted(rooms - height.keys())]
    found += [f"{name} is on a floor and not there" for name in sorted(height.keys() - rooms)]
    hidden = [path.name for path in package.glob("_*.py*") if path.stem != "__init__"]
    found += [f"{name} belongs in a folder" for name in sorted(hidden)]
    for module, path in files.items():
        relative = [name for name, _ in imports(path) if name.startswith(".")]
        found += [f"{module} imports {name}, which is relative" for name in relative]
    inside = {}
    for module, name in sorted(arrows(package)):
        if room(module) == room(name):
            inside.setdefault(module, []).append(name)
        elif height.get(room(name), len(floors)) >= height.get(room(module), len(floors)):
            found.append(f"{module} imports {name}, which is not below it")
    try:
        graphlib.TopologicalSorter(inside).prepare()
    except graphlib.CycleError as error:
        found.append(f"a circle: {' > '.join(reversed(error.args[1]))}")
    return found


def test_rooms_import_only_from_floors_below():
    assert faults(PACKAGE, FLOORS) == []


SOUND = {
    "__init__.py": "from tree.top import f",
    "top.py": "from tree import low\nfrom tree._house.a import g\nimport numpy",
    "low.py": "",
    "_house/__init__.py": "",
    "_house/a.py": "from tree._house import b\nfrom tree import low",
    "_house/b.py": "",
    "_other.py": None,
}
TREE_FLOORS = [{"low"}, {"_house"}, {"top"}, {"tree"}]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"low.py": "import tree.top"}, "tree.low imports tree.top, which is not below it"),
        (
            {"low.py": "def f():\n    from tree._house.b import g"},
            "tree.low imports tree._house.b, which is not below it",
        ),
        (
            {"low.py": "if TYPE_CHECKING:\n    from tree._house import b"},
            "tree.low imports tree._house.b, which is not below it",
        ),
        (
            {"low.py": "import_module('tree._house.b')"},
            "tree.low imports tree._house.b, which is not below it",
        ),
        ({"low.py": "from tree import f"}, "tree.low imports tree, which is not below it"),
        (
            {"_house/__init__.py": "from tree.top import f"},
            "tree._house imports tree.top, which is not below it",
        ),
        (
            {"_house/b.py": "def f():\n    from tree._house.a import g"},
            "a circle: tree._house.a > tree._house.b > tree._house.a",
        ),
        ({"_house/b.py": "import tree._house.b"}, "a circle: tree._house.b > tree._house.b"),
        ({"_house/b.py": "from . import a"}, "tree._house.b imports ..a, which is relative"),
        ({"_other.py": ""}, "_other.py belongs in a folder"),
        ({"other.py": ""}, "other is on no floor"),
        ({"low.py": None}, "low is on a floor and not there"),
    ],
)
def test_a_tree_against_the_plan_is_found(changes, fault, tmp_path):
    for name, text in (SOUND | changes).items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
    found = faults(tmp_path / "tree", TREE_FLOORS)
    assert fault in found if fault else not found


def test_rooms_of_one_floor_do_not_import_each_other(tmp_path):
    for name, text in {"__init__": "", "one": "from tree import two", "two": ""}.items():
        (tmp_path / f"tree/{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"tree/{name}.py").write_text(text)
    found = faults(tmp_path / "tree", [{"one", "two"}, {"tree"}])
    assert found == ["tree.one imports tree.two, which is not below it"]


@pytest.mark.parametrize("module", MODULES)
def test_only_plotting_imports_matplotlib_where_a_module_begins(module):
    if room(module) == "plotting":
        pytest.skip("this is the one that may")
    early = {name.split(".")[0] for name, late in imports(modules(PACKAGE)[module]) if not late}
    assert not early & {"matplotlib", "onnx", "skl2onnx", "pandas", "polars", "torch", "jax"}


def test_importing_fastar_imports_no_optional_library():
    code = "import sys, fastar; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(run_python(code).split())
    optional = {"matplotlib", "onnx", "polars", "torch", "jax", "pytest", "dask", "distributed"}
    assert not loaded & optional


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_and_has_a_docstring(module):
    assert importlib.import_module(module).__doc__


PUBLIC = [
    callbacks,
    conditionals,
    models,
    onnx,
    optimizers,
    persistence,
    plotting,
    schedules,
    tools,
]
NAMES = [(module, name) for module in PUBLIC for name in module.__all__ if name != "BY_NAME"]


def sections(doc):
    lines = inspect.cleandoc(doc).splitlines()
    return {lines[i - 1] for i in range(1, len(lines)) if set(lines[i]) == {"-"}}


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=lambda value: getattr(value, "__name__", value)
)
def test_public_names_are_documented_with_their_parameters(module, name):
    thing = getattr(module, name)
    assert thing.__doc__
    assert len(thing.__doc__.strip().splitlines()[0]) < 120
    arguments = [
        argument
        for argument in inspect.signature(thing).parameters.values()
        if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    ]
    if arguments and not inspect.isabstract(thing):
        assert "Parameters" in sections(thing.__doc__)
        described = thing.__doc__.split("Parameters")[1]
        assert all(argument.name in described for argument in arguments)


@pytest.mark.parametrize("name", [*MODELS, "Mixture", "AutoDensity"])
def test_models_and_their_methods_are_documented(name):
    model = getattr(fastar, name)
    assert {"Parameters", "Attributes", "References", "Examples"} <= sections(model.__doc__)
    for method, function in inspect.getmembers(model, inspect.isfunction):
        if method.startswith("_") or not function.__module__.startswith("fastar"):
            continue
        assert function.__doc__, method
        if len(inspect.signature(function).parameters) > 1:
            assert "Parameters" in sections(function.__doc__), method


def test_the_public_surface_is_exported():
    assert set(fastar.__all__) >= {*MODELS, "Mixture", "load", "__version__"}
    assert all(hasattr(fastar, name) for name in fastar.__all__)
    top = {module.name for module in pkgutil.iter_modules(fastar.__path__)}
    assert {"models", "conditionals", "optimizers", "schedules", "callbacks", "persistence"} <= top


def test_the_lists_of_common_hold_all_that_is_registered():
    with_own_laws = {"AutoDensity", "DeepNADE", "GenerativeRNN", "Mixture", "PixelRNN"}
    with_own_laws.add("SequenceLabeller")
    assert set(SMALL) == set(MODELS) == models.BY_NAME.keys() - with_own_laws
    assert set(DATA) == set(CONDITIONALS) == {*conditionals.BY_NAME, "mixed"}
    assert set(KINDS) == set(OUTPUTS) == set(conditionals.BY_NAME)
    assert set(ACTIVATIONS) == set(_shared_hidden.ACTIVATIONS)


@pytest.mark.parametrize("registry", [models, conditionals, optimizers, schedules])
def test_registered_names_are_those_of_the_classes(registry):
    for name, each in registry.BY_NAME.items():
        assert name == getattr(each, "name", each.__name__)
        assert each.__name__ in registry.__all__
