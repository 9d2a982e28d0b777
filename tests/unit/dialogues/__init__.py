"""Tests pairing and the two strategies."""
