"""The local stack, the command line and what deployment needs."""
