"""Saves the state of a training so that it can go on: when, what, and whether it is whole."""
