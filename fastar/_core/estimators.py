"""scikit-learn's base classes with types, which it does not declare.

A base of unknown type would let a type checker accept any argument of a generated constructor.
"""

from __future__ import annotations

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
    from sklearn.base import BaseEstimator, ClassifierMixin, DensityMixin

__all__ = ["BaseEstimator", "ClassifierMixin", "DensityMixin"]
