"""A run directory, and what is reported of the model in it."""
