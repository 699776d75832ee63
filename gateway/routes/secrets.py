"""Secrets."""

from functools import partial

from contracts.projects import (
    ChangeEscapedCharacters,
    ChangeSecretValue,
    ChooseSecretProjects,
    CreateSecret,
    DeleteSecret,
    GetSecret,
    LabelSecret,
    ListSecrets,
    RenameSecret,
    RevealSecret,
)
from gateway.dialects import free_commit as fc
from gateway.fields import integers, scalar, text
from gateway.routes.patching import change
from gateway.routing import Shown, command, query
from libs.messaging import Showing

_secret = Shown(Showing(RevealSecret, "secret_id"), fc.REVEALED_SECRET)
_new_secret = Shown(Showing(GetSecret, "secret_id"), fc.ECHOED_SECRET)
secret = partial(change, "/admin/secrets/{secret_id:id}", "secret", shows=_secret)

SECRETS = (
    query("/developer/secrets", ListSecrets, write=fc.SECRETS),
    query("/developer/secrets/{secret_id:id}", GetSecret, write=fc.ONE_SECRET),
    query("/admin/secrets", ListSecrets, write=fc.SECRETS),  # without values: looks at them are recorded one by one
    command("GET", "/admin/secrets/{secret_id:id}", RevealSecret, write=fc.REVEALED_SECRET),
    command("POST", "/admin/secrets", CreateSecret, body=fc.SECRET, status=201, shows=_new_secret),
    secret("name", RenameSecret, name=scalar),
    secret("value", ChangeSecretValue, value=scalar, shows=_new_secret),
    secret("env", LabelSecret, env=scalar),
    secret("escape_char", ChangeEscapedCharacters, escape_char=text),
    secret("projects", ChooseSecretProjects, projects_id=integers.otherwise(())),
    command("DELETE", "/admin/secrets/{secret_id:id}", DeleteSecret, status=204, errors=("SECRET_PROJECTS_NOT_EMPTY",)),
)
