"""Plays dialogues, a file a strategy; whatever file lies here is a strategy of the run."""
