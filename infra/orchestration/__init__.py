"""Makes Prefect tasks and flows of functions, and tells it what happens."""
