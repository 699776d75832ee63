"""A sample project, and helpers that compile pipelines from a few lines of YAML."""

from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest

from contracts.builds import LaunchedProject, PlannedJob
from services.builds.pipeline.compiler import Pipeline, compile_pipeline
from services.builds.pipeline.context import PipelineContext
from services.builds.planning.spec import SpecInvalid

PROJECT = LaunchedProject(
    project_id=1,
    name="The Shop",
    owner_alias="acme",
    alias="shop",
    repository="https://git.example.org/shop.git",
    branch="main",
    spec_file_path="/.gitlab-ci.yml",
)


def make_context(**known: Any) -> PipelineContext:
    default = PipelineContext(
        project=PROJECT,
        build_id=7,
        local_id=3,
        ref="refs/heads/main",
        sha="a" * 40,
        url="http://ci.example.org:8080",
        default_branch="main",
    )
    return replace(default, **known)


def compile_sample(source: str, /, **known: Any) -> Pipeline:
    return compile_pipeline(dedent(source).encode(), make_context(**known), timeout_seconds=3600, max_attempts=3)


def compile_jobs(source: str, /, **known: Any) -> dict[str, PlannedJob]:
    return {job.name: job for job in compile_sample(source, **known).jobs}


def compile_job(source: str, /, **known: Any) -> PlannedJob:
    (job,) = compile_sample(source, **known).jobs
    return job


def compile_error(source: str, /, **known: Any) -> str:
    with pytest.raises(SpecInvalid) as refused:
        compile_sample(source, **known)
    return str(refused.value)
