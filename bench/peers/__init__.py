"""Density estimators in other frameworks, with one small interface, to time fastar against."""
