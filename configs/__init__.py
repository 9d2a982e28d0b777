"""Ships run configurations, prompts and the demo world as package data."""
