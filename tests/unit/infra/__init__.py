"""Tests the infrastructure."""
