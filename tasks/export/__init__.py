"""Writes characters, dialogues and examples as a data set that others can open."""
