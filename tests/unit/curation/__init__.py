"""Tests curation."""
