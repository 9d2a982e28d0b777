"""Turns SFT examples into packed rows of tokens, and orders them."""
