"""Tells what ran in a store, and takes care of it."""
