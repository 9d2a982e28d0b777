"""Measures answers and models, and makes the score table of it."""
