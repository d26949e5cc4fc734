"""The shape of the source: imports go one way, public names are documented."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from common import ACTIVATIONS, CONDITIONALS, DATA, KINDS, MODELS, OUTPUTS, SMALL, run_python

import fastar
from fastar import callbacks, conditionals, models, optimizers, persistence, schedules
from fastar.models import mixture
from fastar.networks import _shared_hidden

PACKAGE = Path(fastar.__file__).parent
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)

# A module may import from its own layer and those before it. What is not named comes last.
LAYERS = [
    {"_kernels"},
    {"_parameters", "_table", "_threads", "_files", "_containers"},
    {"_frames"},
    {"_reading", "_context"},
    {"networks", "conditionals", "optimizers", "schedules", "orderings"},
    {"_model", "_validation", "_sequences", "_labels", "_prefixes"},
    {"_inference"},
    {"_sampling", "_purification"},
    {"_density"},
    {"_training"},
    {"callbacks"},
    {"_base"},
    {"models"},
    {"_parallel"},
    {"orderless", "sequences", "images", "labelling"},
    {"mixture", "classification", "detection", "imputation"},
    {"persistence"},
]


def layer(module):
    top = module.split(".")[0]
    return next((i for i, names in enumerate(LAYERS) if top in names), len(LAYERS))


def imports(module):
    """Return every import: (name, whether in a function or for type checkers alone)."""
    path = PACKAGE / Path(*module.split(".")).with_suffix(".py")
    if not path.exists():
        path = PACKAGE / Path(*module.split(".")) / "__init__.py"
    found = []

    def visit(node, late):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "fastar"
        ):
            rest = node.module.split(".")[1:]
            names = [".".join(rest)] if rest else [alias.name for alias in node.names]
            found.extend((name, late) for name in names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            pytest.fail(f"{module} has a relative import")
        elif isinstance(node, ast.Import):
            found.extend((alias.name, late) for alias in node.names)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, late or typing or function)

    visit(ast.parse(path.read_text()), False)
    return found


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) < len(LAYERS)])
def test_imports_go_one_way(module):
    for name, late in imports(module):
        if not late and (name.split(".")[0] in MODULES or layer(name) < len(LAYERS)):
            assert layer(name) <= layer(module), f"{module} imports {name}"


def test_layers_name_modules_that_exist():
    tops = {name.split(".")[0] for name in MODULES}
    assert set().union(*LAYERS) - tops <= {"orderings"}


@pytest.mark.parametrize("module", MODULES)
def test_only_plotting_imports_matplotlib_where_a_module_begins(module):
    if module == "plotting":
        pytest.skip("this is the one that may")
    early = {name.split(".")[0] for name, late in imports(module) if not late}
    assert not early & {"matplotlib", "pandas", "polars", "torch", "jax"}


def test_importing_fastar_imports_no_optional_library():
    code = "import sys, fastar; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(run_python(code).split())
    assert not loaded & {"matplotlib", "polars", "torch", "jax", "pytest"}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_and_has_a_docstring(module):
    name = f"fastar.{module}".removesuffix(".__init__")
    if module.endswith("__main__"):
        pytest.skip("importing it runs it")
    assert importlib.import_module(name).__doc__


PUBLIC = [callbacks, conditionals, mixture, models, optimizers, persistence, schedules]
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


@pytest.mark.parametrize("name", [*MODELS, "Mixture"])
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
    assert set(SMALL) == set(MODELS) == set(models.BY_NAME)
    assert set(DATA) == set(CONDITIONALS) == {*conditionals.BY_NAME, "mixed"}
    assert set(KINDS) == set(OUTPUTS) == set(conditionals.BY_NAME)
    assert set(ACTIVATIONS) == set(_shared_hidden.ACTIVATIONS)


@pytest.mark.parametrize("registry", [models, conditionals, optimizers, schedules])
def test_registered_names_are_those_of_the_classes(registry):
    for name, each in registry.BY_NAME.items():
        assert name == getattr(each, "name", each.__name__)
        assert each.__name__ in registry.__all__
