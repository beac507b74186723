"""Web pages of a run: the report and the explorer, each a single HTML file that needs no network."""
