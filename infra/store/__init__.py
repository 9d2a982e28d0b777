"""Keeps rows and proofs below one root, on a local disk or on S3."""
