"""The query for the runners that a user may see, with their current jobs."""

from datetime import datetime

from contracts.builds.job import JobStatus
from contracts.builds.requirements import RunnerCapabilities
from contracts.messages import Message, Query

MAX_FLEET_SIZE = 1000
MAX_COUNTED_ENDS = 5000


class GetFleet(Query):
    """Get the runners that the user may see, with their current jobs. Answer: Fleet.

    The user may see the runners of the instance, of the user's companies, and of projects that are visible to the user.
    Administrators may see all runners. At most MAX_FLEET_SIZE runners are read.
    """


class RunnerJob(Message):
    """A current job of a runner. Jobs of projects that the user may not see have neither numbers nor names."""

    job_id: int | None = None
    build_id: int | None = None
    project_id: int | None = None
    project_name: str = ""
    name: str = ""
    status: JobStatus
    since: datetime | None  # when the job was assigned to the runner


class FleetRunner(RunnerCapabilities):
    uuid: str
    name: str
    active: bool
    online: bool
    jobs: tuple[RunnerJob, ...]
    finished_24h: int = 0  # jobs that ended in the last 24 hours, among the latest MAX_COUNTED_ENDS of all runners
    failed_24h: int = 0


class Fleet(Message):
    runners: tuple[FleetRunner, ...]  # ordered by name
    waiting_jobs: int  # number of jobs of all projects that wait for a runner; at most 10,000
