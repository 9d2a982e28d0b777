"""Measures a judge on labelled rows, and writes its card."""
