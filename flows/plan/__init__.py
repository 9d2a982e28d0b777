"""Says what a run would make and reuse, and what that would cost."""
