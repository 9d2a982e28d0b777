"""Holds the measures, a file a measure or a family of them; whatever lies here is measured."""
