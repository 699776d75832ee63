"""Golden samples in contracts/golden: one payload for each released event version. They are never changed."""

import hashlib
import json
from datetime import date
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from contracts.messages import Event, Message, Payload
from infra.docgen.field_types import sealed_fields

SEALED_SAMPLE = "s1.c2VhbGVkIHVuZGVyIHRoZSBrZXkgb2YgaXRzIHN1YmplY3Q"
TIME_SAMPLE = "2026-01-31T12:00:00Z"

SAMPLE_VALUES: dict[str, Any] = {
    "alias": "web-shop",
    "artifact_format": "zip",
    "artifact_type": "archive",
    "attempt": 1,
    "available_steps": ["@build", "@deploy", "@cleanup"],
    "branch": "main",
    "build_id": 17,
    "cron": "30 2 * * 1-5",
    "delivery_id": "5f0d7a9e-2f0f-5c39-9d0a-0a4c3b1f7e55",
    "description": "builds and ships the web shop",
    "digest": hashlib.sha256(b"sample").hexdigest(),
    "driver": "localDriver",
    "env": "production",
    "escape_char": "$,`",
    "exit_code": 0,
    "exit_message": "Custom deployment error",
    "expires_at": "2030-12-31",
    "forge_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "former_username": "ivan",
    "ignore_steps": ["@deploy"],
    "image": "debian:12",
    "initiator_id": 3,
    "initiator_name": "ivan",
    "ip_address": "192.0.2.7",
    "issuer": "https://sso.example.org",
    "job_id": 42,
    "job_ids": [42],
    "job_name": "build",
    "link": "/api/developer/builds/17",
    "name": "web shop",
    "notification_id": "8f0c7a52-6a0e-4f0b-8a55-0f8d3f1c2b11",
    "owner_alias": "ivan",
    "owner_type": "GLOBAL",
    "project_id": 5,
    "project_name": "web shop",
    "protected_branches": ["main", "release/*"],
    "reason": "the runner was silent for too long",
    "ref": "main",
    "forge_api_url": "https://git.example.org/api/v4",
    "forge_secret": "FORGE_TOKEN",
    "repository": "https://git.example.org/ivan/web-shop.git",
    "roles": ["ROLE_DEVELOPER"],
    "runner_name": "builder",
    "scope": "service",
    "scopes": ["PROJECT_READ", "BUILD_WRITE"],
    "script": "/ci/build.sh",
    "sha": hashlib.sha1(b"sample", usedforsecurity=False).hexdigest(),
    "stage": "build",
    "spec_file_path": "/headrace.yaml",
    "step": "build",
    "subject": "248289761001",
    "subject_id": "248289761001",
    "tags": ["linux", "docker"],
    "title": "WEB SHOP: build 17 failed",
    "token_hash": hashlib.sha256(b"sample").hexdigest(),
    "user_id": 3,
    "username": "ivan",
    "zone": "Europe/Berlin",
    "server": "https://hooks.example.org",
    "OutgoingRequested.kind": "commit_status",
    "OutgoingRequested.state": "success",
    "OutgoingRequested.target": "gitlab",
    "LaunchVariable.name": "DEPLOY_TARGET",
    "ScheduleVariable.name": "DEPLOY_TARGET",
    "DeliveryAccepted.event": "push",
    "DeliveryAccepted.ref": "refs/heads/main",
    "DeliveryHeld.event": "pull_request",
    "DeliveryHeld.ref": "refs/pull/7/head",
    "DeliveryApproved.ref": "refs/pull/7/head",
    "PullRequest.number": 7,
    "PullRequest.title": "Turn the wheel faster",
    "PullRequest.source_branch": "faster",
    "PullRequest.target_branch": "main",
    "DeliveryIgnored.code": "WEBHOOK_BRANCH_IGNORED",
    "DeliveryIgnored.event": "push",
    "DeliveryIgnored.ref": "refs/heads/topic",
    "DeliveryRefused.code": "WEBHOOK_SIGNATURE_INVALID",
    "DeliveryRefused.event": "push",
    "PlannedJob.name": "build",
    "RunnerInfo.architecture": "amd64",
    "RunnerInfo.executor": "docker",
    "RunnerInfo.name": "headrace-agent",
    "RunnerInfo.platform": "linux",
    "RunnerInfo.version": "0.1.0",
    "PlannedStep.name": "@build",
}
UUID_SAMPLE = "0b0f5e0c-54a5-4f2b-9d0c-7a1d9a2f6c31"


def build_sample(message: type[Message]) -> Payload:
    """Return a payload in which every field is set, with the same values in every run."""
    payload = _sample_message(message)
    if issubclass(message, Event):
        payload |= dict.fromkeys(sealed_fields(message), SEALED_SAMPLE)
    return message.model_validate(payload).model_dump(mode="json")


def golden_path(folder: Path, event: type[Event]) -> Path:
    return folder / f"{event.wire_name}.v{event.schema_version}.json"


def to_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _sample_message(message: type[Message]) -> Payload:
    own = {name: SAMPLE_VALUES.get(f"{message.wire_name}.{name}") for name in message.model_fields}
    return {name: own[name] or _sample_field(name, field.annotation) for name, field in message.model_fields.items()}


def _sample_field(name: str, annotation: Any) -> Any:
    if name in SAMPLE_VALUES:
        return SAMPLE_VALUES[name]
    return (
        UUID_SAMPLE
        if name.endswith(("uuid", "executor_id")) and "str" in str(annotation)
        else _sample_value(name, annotation)
    )


def _sample_value(name: str, annotation: Any) -> Any:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _sample_field(name, next(member for member in inner if member is not NoneType))
    if origin is Literal:
        return inner[0]
    if origin in (tuple, list):
        return [_sample_value(name, inner[0])]
    if origin is dict:
        return {"KEY": "value"}
    if hasattr(annotation, "__metadata__"):
        return _sample_value(name, inner[0])
    if issubclass(annotation, Message):
        return _sample_message(annotation)
    if issubclass(annotation, Enum):
        return next(iter(annotation)).value
    samples = {bool: True, int: 1, float: 1.5, date: TIME_SAMPLE[:10], str: name.replace("_", " ")}
    return samples.get(annotation, TIME_SAMPLE)
