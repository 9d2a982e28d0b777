"""Scores models: PersonaGym with a judge, and what can be measured without one."""
