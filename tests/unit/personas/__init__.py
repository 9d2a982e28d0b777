"""Tests personas."""
