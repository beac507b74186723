"""A museum of bugs: our own code, wrong in memory in the ways in which code like it has been wrong, and what sees it."""
