"""Signal dispositions of child processes. Background jobs of a shell ignore SIGINT, and children inherit that."""

import signal


def restore_sigint() -> None:
    """Restore the default SIGINT handler. Used as `preexec_fn` of a child process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
