"""Tests modules one by one."""
