"""Tests the engines."""
