"""Makes the demo world: a small grammar of characters, and the tiny models trained on it.

Not a stage of the pipeline: it is run by `make demo-models`, and its products lie in configs/demo.
"""
