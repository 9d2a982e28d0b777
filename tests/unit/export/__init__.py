"""Tests the export."""
