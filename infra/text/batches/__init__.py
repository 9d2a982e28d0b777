"""Looks at many texts at once, by columns, and tells what the functions for one text would tell."""
