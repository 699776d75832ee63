"""The error for data keys that were erased."""


class KeyErased(Exception):
    """The subject's data key was deleted, so data encrypted with it cannot be read."""
