"""Turns finished nodes into one self-contained page that people can show."""
