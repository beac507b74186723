"""What is measured on the CPU."""
