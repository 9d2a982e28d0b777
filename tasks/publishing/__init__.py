"""Pushes the data set and the model of a run to a hub, each with its card."""
