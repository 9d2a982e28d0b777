"""Lets people and programs talk with a trained model."""
