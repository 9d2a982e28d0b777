"""Generates with vLLM, in processes of this machine."""
