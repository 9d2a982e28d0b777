"""Turns messages into the token ids that a model takes."""
