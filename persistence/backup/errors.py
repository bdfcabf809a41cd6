"""The ways in which a backup or a restore can fail, each said so that its reader knows what to do."""

from __future__ import annotations


class BackupError(RuntimeError):
    """A backup cannot be taken or restored; nothing half-done has the name or the place asked for."""


class BackupRefused(BackupError):
    """Going on would overwrite something, or make what nobody could use; nothing was touched."""


class BackupDamaged(BackupError):
    """The file is not, or not any more, what a backup wrote."""
