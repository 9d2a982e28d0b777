"""Knows models by their files: folders, weights, configs, GGUF."""
