"""The error that executors raise, and failure reasons of GitLab's protocol."""

SYSTEM_FAILURE = "runner_system_failure"
PULL_FAILURE = "image_pull_failure"


class ExecutorError(Exception):
    """A job could not be executed. `reason`: the job's failure reason in GitLab's protocol."""

    def __init__(self, detail: str, reason: str = SYSTEM_FAILURE) -> None:
        super().__init__(detail)
        self.reason = reason
