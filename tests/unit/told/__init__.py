"""Proves that what is wrong is told early, once, and in words that help: a table of situations."""
