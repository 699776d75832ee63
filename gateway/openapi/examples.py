"""Examples: what a field usually looks like, by its name."""

from typing import Any

UUID = "0e3f0a9c-7f7b-4b7e-9d57-0a6c0d0e4c11"
MOMENT = "2026-03-01T10:15:30.123000Z"
VALUES: dict[str, Any] = {
    "access_token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxNyJ9.c2lnbmF0dXJl",
    "alias": "website",
    "allow_concurrent_execution": False,
    "at": MOMENT,
    "avatar": f"https://ci.example.org/upload/img/{UUID}.png",
    "available_steps": ["@build", "@deploy"],
    "branch": "main",
    "build_last_created_at": MOMENT,
    "builds_id": [31, 32],
    "cover": None,
    "created_at": MOMENT,
    "description": "The public website",
    "developer_email": "ivan@example.org",
    "developers_id": [17],
    "driver": "localDriver",
    "email": "ivan@example.org",
    "env": "production",
    "escape_char": None,
    "executor_id": UUID,
    "exit_code": 0,
    "exit_message": None,
    "expires_in": 3600,
    "expiresAt": "2030-12-31",
    "fullName": None,
    "github_username": "ivan",
    "gitlab_username": None,
    "ignore_steps": ["@deploy"],
    "keep_number_build": 50,
    "line_number": "0",
    "log": "compiling\ndone",
    "name": "website",
    "output": None,
    "owner_alias": "ivan",
    "password": "***********",
    "passwordConfirm": "correct horse battery staple",
    "project_name": "website",
    "protected_branches": ["main"],
    "reason": "Waits for a free runner: all that fit are busy (miller).",
    "recipient": "ivan@example.org",
    "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDkxjaVmTEsJDTtf3bI4XYDpb58fvKfSjy7u8EZeIabc ivan@laptop",
    "ref": "refs/heads/main",
    "repository": "https://git.example.org/website.git",
    "role": "ROLE_DEVELOPER",
    "roles": ["ROLE_DEVELOPER"],
    "runner": "machine-1",
    "secret_env": "production",
    "secret_name": "DEPLOY_TOKEN",
    "secret_scope": "PRIVATE",
    "secrets_id": [5],
    "sha": "4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f",
    "signature_key": "0123456789abcdef0123456789abcdef",
    "spec_file_path": "/headrace.yaml",
    "ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\n...",
    "status": "SUCCESS",
    "step": "build",
    "surname": None,
    "title": "Work laptop",
    "token_type": "Bearer",
    "user_role": "ROLE_DEVELOPER",
    "user_username": "ivan",
    "userUuid": UUID,
    "username": "ivan",
    "uuid": UUID,
    "value": "the secret value",
    "variables": {},
}

SENT = {"password": "correct horse battery staple", "executor_id": 1}
"""Where clients send something else than they read."""


def sent(name: str) -> Any:
    return SENT.get(name, value(name))


def value(name: str) -> Any:
    """A plausible value of a field with this name; nothing where none is known."""
    return VALUES.get(name, [1, 2] if name.endswith("s_id") else 17 if name.endswith("_id") else None)


def example(schema: dict[str, Any], schemas: dict[str, Any], name: str = "") -> Any:
    """An example that fits the schema; names of fields decide, types fill the gaps."""
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
