"""Backups: what cannot be built anew, of one moment, in one file; and an empty system made from it."""
