"""scikit-learn's base classes with types, which it does not declare, and with links to pages.

A base of unknown type would let a type checker accept any argument of a generated constructor.
"""

from __future__ import annotations

import os
from importlib.metadata import metadata
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:

    class BaseEstimator:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def _validate_params(self) -> None: ...
        def __sklearn_tags__(self) -> Any: ...

    class ClassifierMixin: ...

    class DensityMixin: ...

else:
    import sklearn.base
    from sklearn.base import ClassifierMixin, DensityMixin

    class BaseEstimator(sklearn.base.BaseEstimator):
        """scikit-learn's, whose HTML display links to the documentation of this library."""

        def _get_doc_link(self) -> str:
            """Return the address of the class's page, or nothing: that of a subclass is unknown."""
            kind, site = type(self), documentation_site()
            is_own = kind.__module__.partition(".")[0] == "fastar"
            return f"{site}/api/generated/fastar.{kind.__name__}.html" if site and is_own else ""


def documentation_site() -> str:
    """Return where the documentation is: FASTAR_DOCS, or an address that the package names."""
    urls = metadata("fastar-density").get_all("Project-URL") or []
    named = dict(url.split(", ", 1) for url in urls)
    return (os.environ.get("FASTAR_DOCS") or named.get("Documentation", "")).rstrip("/")


__all__ = ["BaseEstimator", "ClassifierMixin", "DensityMixin", "documentation_site"]
