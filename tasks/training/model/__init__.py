"""Makes of trained weights a folder that others can load, and proves it."""
