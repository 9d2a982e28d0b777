"""Offers the command line, a file a group of commands."""
