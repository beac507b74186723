"""Fixtures that the tests of commands share."""

from support.command import cli, run, trained  # noqa: F401 - fixtures
