"""SIGINT in child processes: they inherit its handling, and background jobs of a shell ignore SIGINT."""

import signal


def restore_sigint() -> None:
    """Restore the default handler, for use as `preexec_fn` of a child process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
