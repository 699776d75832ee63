"""The response model of the fleet: the runners with their current jobs."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from contracts.builds import JobStatus
from gateway.forwarding.serializers import Moment, ResponseModel
from gateway.schemas.samples import MOMENT, UUID


class RunnerJob(ResponseModel):
    job_id: int | None = Field(description="number of the job; null if its project is not visible", examples=[17])
    build_id: int | None = Field(description="number of the build; null if its project is not visible", examples=[17])
    project_id: int | None = Field(description="number of the project; null if it is not visible", examples=[17])
    project_name: str = Field(description="name of the project when the build was launched", examples=["website"])
    name: str = Field(description="name of the job", examples=["compile"])
    status: JobStatus = Field(description="current status")
    since: Moment | None = Field(description="when the runner got it", examples=[MOMENT])


class FleetRunner(ResponseModel):
    uuid: str = Field(description="UUID of the runner", examples=[UUID])
    name: str = Field(examples=["machine-1"])
    scope: Annotated[str, BeforeValidator(lambda owner: "INSTANCE" if owner == "GLOBAL" else owner)] = Field(
        validation_alias="owner_type", description="`INSTANCE`, `COMPANY` or `PROJECT`", examples=["INSTANCE"]
    )
    owner_id: int | None = Field(description="number of the company or project; null for all", examples=[17])
    tags: tuple[str, ...] = Field(examples=[["linux"]])
    run_untagged: bool = Field(description="whether it takes jobs without tags")
    protected: bool = Field(description="whether it takes only jobs of protected branches")
    active: bool = Field(description="false: it gets no new jobs")
    online: bool = Field(description="whether it has contacted the server recently")
    platform: str = Field("", description="as the runner reports it; empty until its first call", examples=["linux"])
    architecture: str = Field("", description="as the runner reports it", examples=["amd64"])
    version: str = Field("", description="as the runner reports it", examples=["0.3.0"])
    contacted_at: Moment | None = Field(None, description="time of its last contact", examples=[MOMENT])
    jobs: tuple[RunnerJob, ...] = Field(description="current jobs")
    finished_24h: int = Field(description="its jobs among the newest 5,000 that ended in the last 24 hours")
    failed_24h: int = Field(description="those of them that failed")


class FleetView(ResponseModel):
    runners: tuple[FleetRunner, ...] = Field(description="at most 1,000, by name")
    waiting_jobs: int = Field(description="jobs of all projects that wait for a runner, counted up to 10,000")
