"""Decides where things run: storage, fingerprints, engines, the stage runner and Ray."""
