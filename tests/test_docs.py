"""The documentation against the package: every public name has a place in the API reference."""

import importlib
import re
import subprocess
import sys
import tomllib
from email.message import Message
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import estimator_html_repr
from test_structure import PUBLIC

import fastar
from fastar import NADE, datasets
from fastar._core import estimators

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = [path.read_text() for path in (DOCS / "api").glob("*.rst") if path.stem != "index"]
LISTED = re.findall(r"^   ([\w.]+)$", "".join(PAGES), re.MULTILINE)


def listed_objects():
    found = []
    for name in LISTED:
        module, _, attribute = f"fastar.{name}".rpartition(".")
        found.append(getattr(importlib.import_module(module), attribute, None))
    return found


@pytest.mark.parametrize("module", [fastar, *PUBLIC, datasets], ids=lambda each: each.__name__)
def test_every_public_name_is_in_the_api_reference(module):
    listed = listed_objects()
    names = set(module.__all__) - {"BY_NAME", "__version__"}
    assert [name for name in sorted(names) if getattr(module, name) not in listed] == []


def test_the_api_reference_lists_what_there_is_once():
    listed = listed_objects()
    assert None not in listed
    assert len(listed) == len(set(listed))


def test_every_example_of_the_gallery_says_what_to_see():
    scripts = sorted((DOCS / "examples").glob("*.py"))
    assert scripts
    for script in scripts:
        title, line, *_ = script.read_text().removeprefix('"""\n').splitlines()
        assert line == "=" * len(title), script.name
        assert "\n# %%\n# " in script.read_text(), script.name


def test_every_page_of_the_guide_is_in_its_table_of_contents():
    pages = {path.stem for path in (DOCS / "guide").glob("*.md")} - {"index"}
    assert pages == set(re.findall(r"^(\w+)$", (DOCS / "guide/index.md").read_text(), re.MULTILINE))


def test_every_page_with_examples_is_tested():
    settings = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())
    tested = [DOCS.parent / path for path in settings["tool"]["pytest"]["ini_options"]["testpaths"]]
    pages = [path for path in DOCS.rglob("*.md") if ">>> " in path.read_text()]
    assert pages
    assert [page.name for page in pages if not {page, *page.parents} & set(tested)] == []


def test_the_table_of_published_figures_is_what_its_command_prints():
    text = (DOCS / "guide/how_good.md").read_text()
    begin, end = "<!-- published: printed by bench/published.py -->", "<!-- end of published -->"
    done = subprocess.run(
        [sys.executable, DOCS.parent / "bench/published.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert text[text.index(begin) + len(begin) : text.index(end)].strip() == done.stdout.strip()


# ---- links from the HTML displays of estimators

NAMES = [
    name
    for name in fastar.__all__
    if isinstance(getattr(fastar, name), type) and issubclass(getattr(fastar, name), BaseEstimator)
]


def unfitted(name):
    kind = getattr(fastar, name)
    return kind(NADE()) if name in {"Mixture", "GenerativeClassifier"} else kind()


@pytest.mark.parametrize("name", NAMES)
def test_displays_link_to_the_page_of_their_class(name, monkeypatch):
    monkeypatch.setenv("FASTAR_DOCS", "https://docs.example/fastar/")
    assert name in LISTED
    page = f"https://docs.example/fastar/api/generated/fastar.{name}.html"
    assert f'href="{page}"' in estimator_html_repr(unfitted(name))


def test_displays_have_no_link_where_no_page_is_known(monkeypatch):
    class Own(NADE):
        pass

    monkeypatch.setenv("FASTAR_DOCS", "https://docs.example")
    assert "docs.example" not in estimator_html_repr(Own())
    monkeypatch.delenv("FASTAR_DOCS")
    monkeypatch.setattr(estimators, "metadata", lambda _: Message())
    assert 'href="' not in estimator_html_repr(NADE())


def test_displays_link_to_the_documentation_that_the_package_names(monkeypatch):
    project = Message()
    project["Project-URL"] = "Source, https://code.example"
    project["Project-URL"] = "Documentation, https://docs.example/stable/"
    monkeypatch.delenv("FASTAR_DOCS", raising=False)
    monkeypatch.setattr(estimators, "metadata", lambda _: project)
    assert "https://docs.example/stable/api/generated/fastar.NADE.html" in estimator_html_repr(
        NADE()
    )
