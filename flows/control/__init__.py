"""Steers a run while it goes: reruns, budgets, approval, stopping, the display."""
