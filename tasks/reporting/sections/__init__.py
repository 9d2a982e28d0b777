"""Gathers what each section of the report says."""
