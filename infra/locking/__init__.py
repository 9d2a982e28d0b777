"""Keeps runs apart that would write below one root at once."""
