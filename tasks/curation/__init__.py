"""Turns dialogues into training examples: filters, twins, evaluation leaks, split, messages."""
