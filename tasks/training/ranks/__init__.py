"""Trains on many ranks: the job, its processes, checkpoints and metrics."""
