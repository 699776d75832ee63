"""Body and response of the route that plans a build without launching it."""

from pydantic import Field

from gateway.adapters.free_commit.request_fields import at_most
from gateway.forwarding.serializers import ResponseModel, serialize
from gateway.schemas.build_launch import BuildVariables
from gateway.schemas.console.build_overviews import SHA
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Text


class PlanFields(Fields):
    ref: Text = Field(None, description="branch to plan; null: that of the project", examples=["main"])
    variables: BuildVariables = Field(
        (),
        description="variables of the launch, which rules may use",
        examples=[[{"name": "DEPLOY_TARGET", "value": "staging"}]],
        json_schema_extra=at_most(50, items=True),
    )


class JobPlan(ResponseModel):
    name: str = Field(examples=["test"])
    stage: str = Field(examples=["test"])
    when: str = Field(description="`on_success`, `on_failure`, `always` or `manual`", examples=["on_success"])
    allow_failure: bool = Field(description="whether the build passes although the job fails")
    needs: tuple[str, ...] | None = Field(
        description="names of the jobs that it waits for; null: all jobs of earlier stages"
    )
    tags: tuple[str, ...] = Field(description="a runner needs all of them")
    image: str | None = Field(description="container image", examples=["debian:12"])
    steps: tuple[str, ...] = Field(description="names of the steps, with `@`, of a spec file of Free Commit")


class PlanProblem(ResponseModel):
    code: str = Field(
        description="`REPOSITORY_UNREACHABLE`, `REF_NOT_FOUND`, `SPEC_NOT_FOUND`, `SPEC_UNREADABLE` or `SPEC_INVALID`",
        examples=["SPEC_INVALID"],
    )
    message: str = Field(description="what is wrong")
    file: str = Field(description="path of an included file; empty: the spec file")
    line: int | None = Field(description="from 1; null: unknown", examples=[7])
    column: int | None = Field(description="from 1; null: unknown", examples=[3])


class BuildPlan(ResponseModel):
    ref: str | None = Field(description="planned branch; null after an error", examples=["refs/heads/main"])
    sha: str | None = Field(description="planned commit; null after an error", examples=[SHA])
    spec_file_path: str = Field(description="path from the root of the repository", examples=["/headrace.yaml"])
    jobs: tuple[JobPlan, ...] = Field(description="jobs by stage, then as in the file")
    warnings: tuple[str, ...] = Field(description="parts of the file that have no effect")
    errors: tuple[PlanProblem, ...] = Field(description="why the branch cannot be built; empty: it can")


PLAN = envelope("build", PlanFields)
BUILD_PLAN = serialize(BuildPlan)
