"""Exact autoregressive density estimators for CPUs under a scikit-learn API."""
