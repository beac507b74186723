"""Evaluation of trained models: log p(x), disentanglement, anomalies, latent paths.  Takes arrays and knows no model."""
