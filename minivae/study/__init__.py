"""The guided path through the equations, one op explained with numbers, and one training step worked in full."""
