"""Reads and cleans text: what models write, and what people bring."""
