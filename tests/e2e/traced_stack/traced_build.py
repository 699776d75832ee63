"""A failing build of a private repository, and the telemetry that the stack exports for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import httpx

from tests.support.external.otlp_receiver import OtlpReceiver, ReceivedSpan, format_trace, list_span_paths
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import wait_until

BUILD_TIMEOUT_SECONDS = 6
LAUNCH_PATH = "gateway POST /api/developer/builds/{project_id}"
RUN_PATH = "agent job build"
REPORT_PATH = f"{RUN_PATH} > gateway PUT /api/v4/jobs/{{job_id}} > gateway ReportJob > builds ReportJob"
END_PATH = f"{REPORT_PATH} > builds publish BuildFinished"
SECRET, PASSWORD, LOGIN = (f"canary-{uuid4().hex}" for _ in range(3))
EMAIL = f"{uuid4().hex}@example.org"


@dataclass(frozen=True)
class TracedBuild:
    spans: Sequence[ReceivedSpan]  # received until the telemetry of the stack's first build was complete
    scraped: str  # the metrics of all processes after that build

    @property
    def launch_spans(self) -> list[ReceivedSpan]:
        [trace_id] = {span.trace_id for span in self.spans if f"{span.service} {span.name}" == LAUNCH_PATH}
        return self._spans_of_trace(trace_id)

    @property
    def run_spans(self) -> list[ReceivedSpan]:
        [trace_id] = {span.trace_id for span in self.spans if span.service == "agent" and not span.parent_id}
        return self._spans_of_trace(trace_id)

    def _spans_of_trace(self, trace_id: str) -> list[ReceivedSpan]:
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start)

    def is_complete(self) -> bool:
        """Return whether the last spans have arrived: the spans of the job, the sent e-mail and the event relay."""
        names = {f"{span.service} {span.name}" for span in self.spans}
        return {RUN_PATH, "notifications decide MarkNotificationSent"} <= names and END_PATH in list_span_paths(
            self.run_spans
        )


@dataclass(frozen=True)
class BuildTracer:
    stack: RunningStack
    receiver: OtlpReceiver

    def run_failing_build(self, repository: str) -> None:
        """Run a failing build that uses a secret, launched by a user with an e-mail address."""
        stack = self.stack
        secret = stack.create("secret", name="CANARY", value=SECRET)
        user = stack.create("developer", username="eve", password=PASSWORD, email=EMAIL, roles=["ROLE_DEVELOPER"])
        project_id = stack.create_project(repository, secrets_id=[secret["id"]], developers_id=[user["id"]])
        with stack.sign_in("eve", PASSWORD) as eve:
            build = stack.wait_until_finished(stack.launch_build(project_id, client=eve))
        assert build["exit_code"] == 2000

    def wait_for_telemetry(self) -> TracedBuild:
        wait_until(lambda: self._read().is_complete(), message=format_trace(self.receiver.spans))
        # these two metrics are updated at intervals
        expected = ("headrace_queue_depth", "headrace_runners_online 1.0")
        scraped = wait_until(self._scrape_metrics, until=lambda text: all(metric in text for metric in expected))
        return self._read(scraped)

    def _read(self, scraped: str = "") -> TracedBuild:
        return TracedBuild(tuple(self.receiver.spans), scraped)

    def _scrape_metrics(self) -> str:
        return "".join(
            httpx.get(f"{address}/metrics").text
            for address in self.stack.process_addresses()
            if address.startswith("http")
        )
