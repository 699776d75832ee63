"""What nobody can read any more. In a module of its own: the gateway knows it, and has nothing to do with vaults."""


class KeyErased(Exception):
    """The subject's data key is gone, and with it everything sealed for it."""
