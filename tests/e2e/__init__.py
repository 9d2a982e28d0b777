"""Tests whole runs against real engines and servers."""
