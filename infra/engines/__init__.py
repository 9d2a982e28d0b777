"""Offers three kinds of engine behind one small protocol: vLLM, endpoint and scripted."""
