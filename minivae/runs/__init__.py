"""The run directory, and what is reported about the model in it."""
