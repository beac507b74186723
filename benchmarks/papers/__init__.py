"""Published figures repeated."""
