"""Fixtures for the tests of pages."""

from support.book import book, measured  # noqa: F401 - fixtures
