"""The annotated VAE: a book that is made from the source, page by page."""
