"""Tests OpenCharacter."""
