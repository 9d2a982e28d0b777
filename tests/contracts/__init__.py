"""Tests what must hold across modules."""
