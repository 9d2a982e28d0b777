"""Generates with OpenAI-compatible endpoints, in whatever dialect they speak."""
