"""A museum of bugs: our own code, changed in memory in the ways in which code like it has been wrong, and what sees each of them."""
