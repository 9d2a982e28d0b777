"""Runs row stages: plans, leases, asks engines, commits rows."""
