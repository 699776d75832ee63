"""Example values of fields, by field name."""

from typing import Any

UUID = "0e3f0a9c-7f7b-4b7e-9d57-0a6c0d0e4c11"
MOMENT = "2026-03-01T10:15:30.123000Z"
VALUES: dict[str, Any] = {
    "access_token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxNyJ9.c2lnbmF0dXJl",
    "alias": "website",
    "allow_concurrent_execution": False,
    "architecture": "amd64",
    "artifact_format": "zip",
    "artifact_id": UUID,
    "artifact_type": "archive",
    "artifact_uuid": UUID,
    "at": MOMENT,
    "available_steps": ["@build", "@deploy"],
    "avatar": f"https://ci.example.org/upload/img/{UUID}.png",
    "branch": "main",
    "build_last_created_at": MOMENT,
    "build_last_exit_message": None,
    "builds_id": [31, 32],
    "code": None,
    "command": "RenameProject",
    "company_alias": "acme",
    "connectedAt": "2026-03-01T10:15:30.123",
    "cover": None,
    "created_at": MOMENT,
    "date": "2026-3",
    "default.admin.username": "admin",
    "delivery_id": UUID,
    "description": "The public website",
    "developer_email": "ivan@example.org",
    "developers_id": [17],
    "downloadUrl": f"https://ci.example.org/api/project/ivan/website/cicd/job/9/artifact/{UUID}/download",
    "driver": "localDriver",
    "email": "ivan@example.org",
    "env": "production",
    "escape_char": None,
    "event": "push",
    "executor_id": UUID,
    "exit_code": 0,
    "exit_message": None,
    "expires_at": "2030-12-31",
    "expires_in": 3600,
    "expiresAt": "2030-12-31",
    "file_name": "artifacts.zip",
    "fileName": "artifacts.zip",
    "fileType": "archive",
    "forge_id": UUID,
    "fullName": None,
    "github_username": "ivan",
    "gitlab_username": None,
    "id": UUID,
    "ignore_steps": ["@deploy"],
    "ipAddress": "192.0.2.17",
    "jwt.life-time": "3600",
    "keep_number_build": 50,
    "key_uuid": UUID,
    "kind": "project",
    "line_number": "0",
    "log": "compiling\ndone",
    "mail.from": "headrace@example.org",
    "mail.host": "smtp.example.org",
    "mail.port": "587",
    "max.parallel.executor": None,
    "name": "website",
    "output": None,
    "owner_alias": "ivan",
    "password": "***********",
    "passwordConfirm": "correct horse battery staple",
    "platform": "Linux",
    "project_alias": "website",
    "project_name": "website",
    "protected_branches": ["main"],
    "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDkxjaVmTEsJDTtf3bI4XYDpb58fvKfSjy7u8EZeIabc ivan@laptop",
    "reason": "Waits for a free runner: all that fit are busy (miller).",
    "recipient": "ivan@example.org",
    "ref": "refs/heads/main",
    "registrationToken": UUID,
    "registrationUrl": "https://ci.example.org:443/-/runner/registration",
    "repository": "https://git.example.org/website.git",
    "role": "ROLE_DEVELOPER",
    "roles": ["ROLE_DEVELOPER"],
    "runner": "machine-1",
    "runner_uuid": UUID,
    "scopes": ["BUILD_READ"],
    "secret_env": "production",
    "secret_name": "DEPLOY_TOKEN",
    "secret_scope": "PRIVATE",
    "secrets_id": [5],
    "sender": "ivan",
    "sha": "4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f",
    "signature_key": "0123456789abcdef0123456789abcdef",
    "spec_file_path": "/headrace.yaml",
    "ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\n...",
    "stage": "build",
    "stageName": "build",
    "status": "SUCCESS",
    "step": "build",
    "surname": None,
    "tags": ["docker"],
    "title": "Work laptop",
    "token_type": "Bearer",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "user_alias": "ivan",
    "user_role": "ROLE_DEVELOPER",
    "user_username": "ivan",
    "username": "ivan",
    "userUuid": UUID,
    "uuid": UUID,
    "value": "the secret value",
    "variables": {},
    "when": "on_success",
}

SENT = {"password": "correct horse battery staple", "executor_id": 1}
"""Example values in requests, where they differ from those in responses."""


def sent(name: str) -> Any:
    return SENT.get(name, value(name))


def value(name: str) -> Any:
    """Return an example value for a field name, or None."""
    return VALUES.get(name, [1, 2] if name.endswith("s_id") else 17 if name.endswith("_id") else None)


def example(schema: dict[str, Any], schemas: dict[str, Any], name: str = "") -> Any:
    """Return an example that satisfies the schema, by field names if known, else by types."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas, name)
    if "properties" in schema:
        return {field: example(one, schemas, field) for field, one in schema["properties"].items()}
    kinds = schema.get("anyOf", [schema])
    known = value(name)
    if known is not None and any(_fits(known, kind) for kind in kinds):
        return known
    return _plain(kinds, schemas, name)


def _plain(kinds: list[dict[str, Any]], schemas: dict[str, Any], name: str) -> Any:
    if name in VALUES and VALUES[name] is None and {"type": "null"} in kinds:
        return None
    kind = kinds[0]
    if "const" in kind or "enum" in kind or "default" in kind:
        return kind.get("const", kind.get("default", kind.get("enum", [None])[0]))
    match kind.get("type"):
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "array":
            return [example(kind.get("items", {}), schemas, name)]
        case "string":
            return MOMENT if kind.get("format") == "date-time" else name or "text"
        case "object":
            return {}
        case _:
            return example(kind, schemas, name) if "$ref" in kind else None


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _fits(known: Any, kind: dict[str, Any]) -> bool:
    wanted = TYPES.get(kind.get("type", ""), ())
    return type(known) in wanted and known in kind.get("enum", [known])
