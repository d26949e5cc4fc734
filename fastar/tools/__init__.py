"""Classifiers, detectors and imputers over any density."""
