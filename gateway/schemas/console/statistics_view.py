"""Responses of the statistics of builds."""

from pydantic import Field

from gateway.forwarding.serializers import ResponseModel, serialize

SECONDS = "seconds, estimated within 10 %; null: no build has one"


class StatisticsBucket(ResponseModel):
    at: str = Field(description="day in UTC", examples=["2026-03-01"])
    succeeded: int = Field(description="builds that passed")
    failed: int = Field(description="builds that failed")
    killed: int = Field(description="builds that were canceled")
    run_p50: float | None = Field(description=f"median of the time on runners in {SECONDS}", examples=[83.0])
    run_p95: float | None = Field(description=f"95th percentile of the time on runners in {SECONDS}", examples=[240.0])
    wait_p50: float | None = Field(
        description=f"median of the time from the launch to the first runner in {SECONDS}", examples=[1.8]
    )
    wait_p95: float | None = Field(description="95th percentile of that time", examples=[21.0])


class JobStatistics(ResponseModel):
    project_id: int = Field(description="number of the project", examples=[17])
    name: str = Field(description="name of the job", examples=["test"])
    runs: int = Field(description="attempts that passed or failed")
    failed: int = Field(description="attempts that failed")
    flaky: int = Field(description="jobs that passed after an earlier attempt had failed or lost its runner")
    p50: float | None = Field(description="median of the duration in seconds, estimated within 10 %", examples=[42.0])
    p95: float | None = Field(description="95th percentile of the duration", examples=[76.0])


class BuildStatistics(ResponseModel):
    buckets: tuple[StatisticsBucket, ...] = Field(
        validation_alias="days", description="days on which builds ended or started, oldest first"
    )
    jobs: tuple[JobStatistics, ...] = Field(
        description="at most 100 jobs in the months of the period: the flakiest, then the slowest"
    )
    runner_seconds: int = Field(description="time that all builds together ran on runners")


BUILD_STATISTICS = serialize(BuildStatistics)
