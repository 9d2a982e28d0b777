"""Tests the composition of runs."""
