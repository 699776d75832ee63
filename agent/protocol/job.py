"""The job payload of GitLab's runner protocol. Unknown fields are ignored."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_TIMEOUT_SECONDS = 7200
BASE_FAILURE_REASONS = frozenset({"script_failure", "runner_system_failure", "job_execution_timeout"})
FALLBACK_REASONS = {  # sent instead of failure reasons that a server does not support
    "runner_interrupted": "runner_system_failure",
    "runner_external_dependency_failure": "runner_system_failure",
    "image_pull_failure": "runner_system_failure",
}


class InvalidJob(Exception):
    """The job payload is invalid. The message names the problem and contains no values."""


@dataclass(frozen=True, slots=True)
class Variable:
    key: str
    value: str = field(repr=False)
    file: bool = False  # the value is written to a file, whose path is the variable's value
    masked: bool = False
    raw: bool = False  # references to other variables are not expanded


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    script: str
    when: str = "on_success"
    allow_failure: bool = False
    timeout: int = 0  # seconds; 0: no limit of its own

    @property
    def runs_always(self) -> bool:
        return self.when == "always"

    def runs_after(self, failed: bool) -> bool:
        return self.runs_always or failed == (self.when == "on_failure")


@dataclass(frozen=True, slots=True)
class Source:
    url: str = field(repr=False)  # may contain credentials
    sha: str
    ref: str = ""
    refspecs: tuple[str, ...] = ()
    depth: int = 0  # commits of history; 0: full history
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Artifacts:
    """An artifact definition: which files are uploaded, and when."""

    name: str = ""
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    when: str = "on_success"
    type: str = "archive"
    format: str = "zip"
    expire_in: str = ""

    def should_upload(self, failed: bool) -> bool:
        return self.when == "always" or failed == (self.when == "on_failure")

    @property
    def upload_parameters(self) -> dict[str, str]:
        expires = {"expire_in": self.expire_in} if self.expire_in else {}
        return {"artifact_type": self.type, "artifact_format": self.format, **expires}


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache definition: which files are kept for later jobs, and under which key."""

    key: str = "default"
    paths: tuple[str, ...] = ()
    untracked: bool = False
    policy: str = "pull-push"
    when: str = "on_success"
    fallback_keys: tuple[str, ...] = ()

    @property
    def pulls(self) -> bool:
        return self.policy != "push"

    @property
    def pushes(self) -> bool:
        return self.policy != "pull"

    def should_save(self, failed: bool) -> bool:
        return self.when == "always" or failed == (self.when == "on_failure")


@dataclass(frozen=True, slots=True)
class Dependency:
    """An earlier job whose artifacts are downloaded before the steps run."""

    id: int
    token: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class Image:
    """The image of the job's container or of a service."""

    name: str
    aliases: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None  # None: the image's own; ("",): disabled
    command: tuple[str, ...] | None = None  # for services: replaces the command of the image
    variables: tuple[Variable, ...] = ()
    pull_policies: tuple[str, ...] = ()  # tried in this order; empty: the agent's default


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    registry: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    id: int
    token: str = field(repr=False)
    name: str
    source: Source | None
    variables: tuple[Variable, ...]
    steps: tuple[Step, ...]
    timeout: int
    supported_failure_reasons: frozenset[str]
    artifacts: tuple[Artifacts, ...] = ()
    caches: tuple[Cache, ...] = ()
    project_id: int = 0
    dependencies: tuple[Dependency, ...] = ()
    image: Image | None = None
    services: tuple[Image, ...] = ()
    logins: tuple[RegistryLogin, ...] = ()
    traceparent: str = ""  # trace context of the build's launch, if the server sends it
    separate_caches: bool = False  # the server's cache keys depend on project and protection
    accepts_log_end: bool = False  # the server accepts the rest of the log with the result

    def supported_reason(self, reason: str) -> str:
        """Return the reason if the server supports it, else a supported fallback, else `unknown_failure`."""
        supported = BASE_FAILURE_REASONS | self.supported_failure_reasons
        return next(
            (candidate for candidate in (reason, FALLBACK_REASONS.get(reason)) if candidate in supported),
            "unknown_failure",
        )


def _parse_variable(entry: Mapping[str, Any]) -> Variable:
    value = entry.get("value")
    return Variable(
        key=str(entry["key"]),
        value="" if value is None else str(value),
        file=bool(entry.get("file")),
        masked=bool(entry.get("masked")),
        raw=bool(entry.get("raw")),
    )


def _parse_step(entry: Mapping[str, Any]) -> Step:
    return Step(
        name=str(entry["name"]),
        script="\n".join(entry.get("script") or ()) + "\n",
        when=str(entry.get("when") or "on_success"),
        allow_failure=bool(entry.get("allow_failure")),
        timeout=int(entry.get("timeout") or 0),
    )


def _parse_artifacts(entry: Mapping[str, Any]) -> Artifacts:
    return Artifacts(
        name=str(entry.get("name") or ""),
        paths=tuple(map(str, entry.get("paths") or ())),
        exclude=tuple(map(str, entry.get("exclude") or ())),
        untracked=bool(entry.get("untracked")),
        when=str(entry.get("when") or "on_success"),
        type=str(entry.get("artifact_type") or "archive"),
        format=str(entry.get("artifact_format") or "zip"),
        expire_in=str(entry.get("expire_in") or ""),
    )


def _parse_cache(entry: Mapping[str, Any]) -> Cache:
    return Cache(
        key=str(entry.get("key") or "default"),
        paths=tuple(map(str, entry.get("paths") or ())),
        untracked=bool(entry.get("untracked")),
        policy=str(entry.get("policy") or "pull-push"),
        when=str(entry.get("when") or "on_success"),
        fallback_keys=tuple(map(str, entry.get("fallback_keys") or ())),
    )


def _parse_dependency(entry: Mapping[str, Any]) -> Dependency:
    return Dependency(id=int(entry["id"]), token=str(entry["token"]), name=str(entry.get("name") or entry["id"]))


def _parse_source(entry: Mapping[str, Any]) -> Source | None:
    if not entry.get("repo_url"):
        return None
    return Source(
        url=str(entry["repo_url"]),
        sha=str(entry["sha"]),
        ref=str(entry.get("ref") or ""),
        refspecs=tuple(entry.get("refspecs") or ()),
        depth=int(entry.get("depth") or 0),
        protected=bool(entry.get("protected")),
    )


def _as_tuple(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))


def _parse_image(entry: Mapping[str, Any]) -> Image | None:
    if not entry.get("name"):
        return None
    return Image(
        name=str(entry["name"]),
        aliases=tuple(str(entry.get("alias") or "").replace(",", " ").split()),
        entrypoint=_as_tuple(entry.get("entrypoint")) or None,
        command=_as_tuple(entry.get("command")) or None,
        variables=tuple(map(_parse_variable, entry.get("variables") or ())),
        pull_policies=_as_tuple(entry.get("pull_policy")),
    )


def _parse_logins(entries: Iterable[Mapping[str, Any]]) -> Iterator[RegistryLogin]:
    for entry in entries:
        if entry.get("type") == "registry":
            yield RegistryLogin(str(entry["url"]), str(entry["username"]), str(entry["password"]))


def parse_job(payload: Mapping[str, Any]) -> Job:
    try:
        timeout = int((payload.get("runner_info") or {}).get("timeout") or 0)
        return Job(
            id=int(payload["id"]),
            token=str(payload["token"]),
            name=str((payload.get("job_info") or {}).get("name") or "job"),
            source=_parse_source(payload.get("git_info") or {}),
            variables=tuple(map(_parse_variable, payload.get("variables") or ())),
            steps=tuple(map(_parse_step, payload.get("steps") or ())),
            timeout=timeout if timeout > 0 else DEFAULT_TIMEOUT_SECONDS,
            supported_failure_reasons=frozenset((payload.get("features") or {}).get("failure_reasons") or ()),
            artifacts=tuple(map(_parse_artifacts, payload.get("artifacts") or ())),
            caches=tuple(map(_parse_cache, payload.get("cache") or ())),
            project_id=int((payload.get("job_info") or {}).get("project_id") or 0),
            dependencies=tuple(
                _parse_dependency(entry) for entry in payload.get("dependencies") or () if entry.get("artifacts_file")
            ),
            image=_parse_image(payload.get("image") or {}),
            services=tuple(filter(None, map(_parse_image, payload.get("services") or ()))),
            logins=tuple(_parse_logins(payload.get("credentials") or ())),
            traceparent=str(payload.get("traceparent") or ""),
            separate_caches=bool((payload.get("features") or {}).get("separate_caches")),
            accepts_log_end=bool((payload.get("features") or {}).get("log_end")),
        )
    except KeyError as error:
        raise InvalidJob(f"the job has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidJob(f"the job has a field of an unexpected type ({type(error).__name__})") from None
