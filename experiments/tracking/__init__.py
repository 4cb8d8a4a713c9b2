"""Copies of runs on an MLflow server. The one room that imports MLflow, and only inside functions: it takes seconds
to load."""
