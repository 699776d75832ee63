"""The error for erased keys, in its own module because the gateway uses it without the key vault."""


class KeyErased(Exception):
    """The subject's data key was deleted, so data encrypted with it cannot be read."""
