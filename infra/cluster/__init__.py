"""Starts or joins Ray, and knows what its nodes compute on."""
