"""Holds what is done: the paper's ideas, one folder a stage, meeting in records on disk."""
