"""Tests instructions."""
