"""A run as a page: the report and the explorer, each one HTML file that needs nothing else."""
