"""docs/design.md against the tree: the files, the floors, and what an addition touches."""

import fnmatch
import importlib
import inspect
import re
from pathlib import Path

import pytest
from test_structure import FLOORS

from fastar import conditionals, optimizers
from fastar._kernels import _conditionals, _cpu

ROOT = Path(__file__).resolve().parent.parent
DESIGN = (ROOT / "docs/design.md").read_text()
SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".c", ".h", ".typed", ".txt"}


def table(section):
    """Return the rows of a section's first table, cells without the header's."""
    text = DESIGN.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


def documented_files():
    """Return the files of the table; a folder stands for its __init__, if it has one."""
    found, folder = [], ""
    for cell, _ in table("Files"):
        for name in quoted(cell):
            if name.endswith("/"):
                folder = name
                if (ROOT / folder / "__init__.py").exists():
                    found.append(f"{folder}__init__.py")
            else:
                found.append(folder + name)
    return found


def test_the_table_of_files_names_each_file_of_the_tree_once():
    found = documented_files()
    there = [
        path.relative_to(ROOT).as_posix()
        for room in ("fastar", "src")
        for path in (ROOT / room).rglob("*")
        if path.suffix in SUFFIXES
    ]
    assert sorted(found) == sorted(there)


def test_every_file_has_a_line_of_content():
    assert all(content for _, content in table("Files"))


def test_the_floors_are_those_that_imports_are_checked_against():
    assert [set(quoted(rooms)) for _, rooms in table("Rooms and floors")] == FLOORS
    assert [int(floor) for floor, _ in table("Rooms and floors")] == list(range(len(FLOORS)))


ADDITIONS = {row[0]: row[1:] for row in table("To add")}


def touched(addition):
    """Return the files that an addition touches, as patterns: `<name>` stands for any."""
    names = [name for name in quoted(ADDITIONS[addition][0]) if "/" in name]
    return [re.sub("<[a-z]+>", "*", name) for name in names]


def listed(addition):
    """Return what the third column names: a module's attribute."""
    (name,) = quoted(ADDITIONS[addition][1])
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("addition", ADDITIONS)
def test_the_files_and_the_list_of_an_addition_exist(addition):
    patterns = touched(addition)
    assert patterns
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []
    assert listed(addition) is not None


REGISTRIES = ["conditional", "optimizer", "schedule", "network", "model"]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_what_is_listed_is_defined_in_a_file_that_its_addition_touches(kind):
    article = "an" if kind[0] in "aeiou" else "a"
    patterns = touched(f"{article} {kind}")
    for each in listed(f"{article} {kind}").values():
        path = each.__module__.replace(".", "/") + ".py"
        assert any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns), path


def test_conditionals_have_one_list_in_python_the_bindings_and_the_kernels():
    # the features of a number are of two other kinds
    own = [name for name in conditionals.BY_NAME if name != "number"]
    assert list(_conditionals.KINDS) == own
    header = (ROOT / "src/kernels/conditionals.h").read_text()
    kinds = re.search(r"enum \{\s*(FASTAR_BERNOULLI.*?)\}", header, re.DOTALL)[1]
    assert [name.lower() for name in re.findall(r"FASTAR_(\w+)", kinds)] == own


def test_optimizers_with_a_loop_have_it_in_the_kernels():
    kernels = (ROOT / "src/kernels/optimizers.c").read_text()
    own = [each for each in optimizers.BY_NAME.values() if "update" not in vars(each)]
    assert own
    assert [each.name for each in own if f'"{each().kernel}"' not in kernels] == []


def code(path):
    """Return a file of C, Cython or CMake without its comments."""
    text = path.read_text()
    if path.suffix in {".c", ".h"}:
        return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return re.sub(r"#.*", "", text)


def test_no_other_file_knows_an_instruction_set():
    patterns = touched("an instruction set")
    paths = [path for path in (ROOT / "src").rglob("*") if path.suffix in SUFFIXES]
    knowing = [
        path.relative_to(ROOT).as_posix()
        for path in paths
        if re.search("avx|__SSE|mmintrin|neon|aarch64", code(path), re.IGNORECASE)
    ]
    assert knowing
    others = [p for p in knowing if not any(fnmatch.fnmatchcase(p, each) for each in patterns)]
    assert others == []


def test_every_instruction_set_has_its_primitives_flags_and_number():
    source = (ROOT / "src/bindings/_cpu.pyx").read_text()
    names = re.findall(r'"(\w+)"', re.search(r"_NAMES = \((.*?)\)", source)[1])
    assert _cpu.isa_name in names
    numbers = re.search(r"enum \{(.*?)\}", (ROOT / "src/kernels/fastar.h").read_text())[1]
    assert [name.lower() for name in re.findall(r"FASTAR_(\w+)", numbers)] == names
    flags = (ROOT / "src/CMakeLists.txt").read_text()
    for name in set(names) - {"baseline"}:
        assert (ROOT / f"src/kernels/vec_{name}.h").exists()
        assert f"set(flags_{name} " in flags


def test_a_batch_s_gradient_is_made_in_one_place():
    training = listed("fitting in pieces, or on several machines")
    calls = [
        name
        for name, function in inspect.getmembers(training, inspect.isfunction)
        if "model.gradient(" in inspect.getsource(function)
    ]
    assert calls == ["gradient"]


def test_every_word_of_the_glossary_has_one_meaning_in_order():
    words = [word for word, _ in table("Words")]
    assert len(words) == len(set(words))
    assert words[1:] == sorted(words[1:], key=str.lower)
