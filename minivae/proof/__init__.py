"""How anybody can know that a gradient is right: finite differences, the gradient check, and the checks of every op."""
