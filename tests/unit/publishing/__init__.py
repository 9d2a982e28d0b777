"""Tests publishing."""
