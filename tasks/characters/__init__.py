"""Turns one-sentence personas into characters with an eight-field profile (paper, section 3.1)."""
