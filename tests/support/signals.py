"""What a test hands on to its children: a shell has its jobs in the background ignore Ctrl-C, and they inherit that."""

import signal


def restore_sigint() -> None:
    """The `preexec_fn` of a child that is to be interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
