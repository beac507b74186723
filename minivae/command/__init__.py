"""The command line; its entry point is ``minivae.command.cli``."""
