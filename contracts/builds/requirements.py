"""The requirements of a queued job and the capabilities of a runner, and how they are matched."""

from functools import lru_cache
from typing import Literal, Self

from contracts.builds.plan import LaunchedProject
from contracts.messages import Message


class RunnerCapabilities(Message):
    """Which jobs a runner may take: its tags, owner and restrictions."""

    tags: tuple[str, ...] = ()
    run_untagged: bool = True
    protected: bool = False
    owner_type: Literal["GLOBAL", "COMPANY", "PROJECT"] = "GLOBAL"
    owner_id: int | None = None

    def can_serve(self, project_id: int, company_id: int | None) -> bool:
        """Return whether the runner's owner allows jobs of the project, which may belong to a company."""
        match self.owner_type:
            case "GLOBAL":
                return True
            case "PROJECT":
                return self.owner_id == project_id
            case "COMPANY":
                return self.owner_id is not None and self.owner_id == company_id


class JobRequirements(Message):
    """What a job requires of a runner, apart from its project.

    Equal requirements fit the same runners, except that a runner of a project serves only jobs of this project.
    """

    company_id: int | None = None
    protected: bool = False
    tags: tuple[str, ...] = ()  # sorted, each tag once

    @classmethod
    def from_job(cls, tags: tuple[str, ...], project: LaunchedProject, *, protected: bool) -> Self:
        return cls(company_id=project.company_id, protected=protected, tags=tuple(sorted(set(tags))))

    @property
    def key(self) -> str:
        return self.model_dump_json()

    def satisfied_by(self, runner: RunnerCapabilities, project_id: int) -> bool:
        return (
            runner.can_serve(project_id, self.company_id)
            and set(self.tags).issubset(runner.tags)
            and (bool(self.tags) or runner.run_untagged)
            and (self.protected or not runner.protected)
        )


@lru_cache(4096)
def parse_requirements(key: str) -> JobRequirements:
    return JobRequirements.model_validate_json(key)
