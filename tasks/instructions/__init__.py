"""Turns instruction data sets, and guesses of the teacher, into the questions of a run."""
