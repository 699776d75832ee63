"""Restore SIGINT in child processes: background jobs of a shell ignore SIGINT, and their child processes inherit it."""

import signal


def restore_sigint() -> None:
    """Restore the default SIGINT handler. Used as `preexec_fn` of a child process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
