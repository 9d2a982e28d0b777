"""Fuzzes every reader of foreign text, guided by what of it each input reaches."""
