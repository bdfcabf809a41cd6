"""Backups: one file with a dump and its manifest, taken while the service serves, restored into an empty place."""
