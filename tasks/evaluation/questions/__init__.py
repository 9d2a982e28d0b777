"""Finds or writes the questions that models are asked."""
