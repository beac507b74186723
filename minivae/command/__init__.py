"""What the command line is made of; ``minivae.cli`` has the commands."""
