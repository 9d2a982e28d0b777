"""Lets characters answer instructions: by generation (G) or by rewriting (R)."""
