"""Breaks real runs, fault after fault by a seed, and checks that nothing is lost or doubled."""
