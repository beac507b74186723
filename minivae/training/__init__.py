"""From rows to a trained model, with nothing lost on the way."""
