"""Turns dialogues into training examples: filters, duplicates, leaks, split, messages."""
