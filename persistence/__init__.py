"""Postgres and Redis: the journal, the checkpoint, the marks, the mirror, and the embedded servers."""
