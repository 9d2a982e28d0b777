"""Holds the demo: its models, its data, and in `world` how they were made."""
