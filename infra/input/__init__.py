"""Reads what people bring, in the file formats that they have."""
