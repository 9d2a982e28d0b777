"""Cleans what a model wrote before it is read: terminal codes, halves of characters, controls."""

from __future__ import annotations

from infra.text_cleaning import clean_text, drop_terminal_codes, mend_surrogates


def clean_answer(text: str) -> str:
    """Clean what a model wrote: terminal codes go whole, half letters show that they are broken."""
    return clean_text(mend_surrogates(drop_terminal_codes(text)))
