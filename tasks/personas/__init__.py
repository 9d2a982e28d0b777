"""Turns rows of persona text into the personas of a run."""
