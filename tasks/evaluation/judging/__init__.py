"""Rates answers, by models and by people, and measures who rates."""
