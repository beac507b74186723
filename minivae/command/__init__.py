"""What the command line is made of; ``minivae.command.cli`` has the commands."""
