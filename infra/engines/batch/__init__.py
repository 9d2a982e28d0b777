"""Generates through the batch APIs of endpoints' vendors."""
