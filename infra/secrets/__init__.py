"""Reads secrets, and keeps them out of everything that leaves the machine."""
