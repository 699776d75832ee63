"""The log of a job, read page by page while the job runs."""

from collections.abc import Iterator

from client.builds.overview import quote_id
from client.http_client import Client


class JobLog:
    """Reads the log of one attempt of a job. Each call of `read_new` yields the lines since the last one.

    Incomplete lines are left out until their line feed arrives or the attempt ends. `finished`: the attempt has ended.
    """

    def __init__(self, client: Client, job_id: int, attempt: int = 0) -> None:
        self._client = client
        self._path = f"/developer/jobs/{quote_id(job_id)}/log/lines"
        self._attempt = attempt
        self._position = {"section": 0, "from": 0}
        self.finished = False

    def read_new(self) -> Iterator[list[str]]:
        """Yield the new lines page by page. Empty pages are left out."""
        more = True
        while more:
            page = self._client.get(self._path, attempt=self._attempt, **self._position)
            self._position, self.finished, more = page["next"], page["finished"], page["more"]
            if lines := [line for chunk in page["chunks"] for line in chunk["lines"]]:
                yield lines

    def read_last(self, count: int) -> list[str]:
        page = self._client.get(self._path, attempt=self._attempt, tail=count)
        return [line for chunk in page["chunks"] for line in chunk["lines"]]
