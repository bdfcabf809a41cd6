"""The composition root: settings, bootstrap, the Python client and the command line."""
