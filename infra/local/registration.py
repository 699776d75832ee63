"""Registers the embedded stack's agent once, the way an operator would: log in, read the token, register."""

import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

from infra.local.process import StackError
from infra.local.stack import PYTHON
from libs.settings import Settings


def register_local_agent() -> None:
    settings = Settings.from_environment(os.environ)
    login = {"auth": {"username": settings.admin_username, "password": settings.admin_password}}
    jwt = _call("POST", f"{settings.url}/api/auth/token", {}, login)["access_token"]
    path = "/api/admin/runners/registration-info"
    token = _call("GET", settings.url + path, {"Authorization": f"token {jwt}"})["registrationToken"]
    subprocess.run(
        (*PYTHON, "agent", "register", "--url", settings.url, "--config", os.environ["HEADRACE_AGENT_CONFIG"]),
        env={name: value for name, value in os.environ.items() if name != "HEADRACE_ADMIN_PASSWORD"}
        | {"HEADRACE_REGISTRATION_TOKEN": token},  # not an argument: arguments are public
        stdin=subprocess.DEVNULL,
        check=True,
    )


def _call(method: str, url: str, headers: dict[str, str], body: object = None) -> Any:
    request = urllib.request.Request(  # noqa: S310
        url,
        method=method,
        headers=headers | {"Content-Type": "application/json", "Accept": "application/json"},
        data=None if body is None else json.dumps(body).encode(),
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in {401, 403}:
                raise StackError(
                    "The local agent could not be registered, because the administrator's log-in was refused; "
                    "set HEADRACE_ADMIN_USERNAME and HEADRACE_ADMIN_PASSWORD to those of an administrator."
                ) from error
            sys.stderr.write(f"{method} {url}: {error.code} {error.read(2000).decode(errors='replace')}\n")
        raise
    except http.client.HTTPException as error:
        raise StackError(f"The gateway at {url} does not speak HTTP: {error}") from error
