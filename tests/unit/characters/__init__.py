"""Tests the writing of profiles."""
