"""What a trained model is worth: log p(x), disentanglement, anomalies, latent paths; arrays in, figures out."""
