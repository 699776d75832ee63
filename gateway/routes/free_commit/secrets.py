"""Routes of secrets."""

from functools import partial

from contracts.projects import (
    ChangeEscapedCharacters,
    ChangeSecretValue,
    CreateSecret,
    DeleteSecret,
    GetSecret,
    ListSecrets,
    RenameSecret,
    RevealSecret,
    SetSecretEnvironment,
    SetSecretProjects,
)
from gateway.adapters.free_commit import models as fc
from gateway.framework.fields import integers, scalar, text
from gateway.framework.route_table import Shown, command, query
from gateway.routes.route_builders import patch_field
from libs.messaging.request_reply import ReturnQuery

_secret = Shown(ReturnQuery(RevealSecret, "secret_id"), fc.REVEALED_SECRET)
_new_secret = Shown(ReturnQuery(GetSecret, "secret_id"), fc.ECHOED_SECRET)
patch_secret = partial(patch_field, "/admin/secrets/{secret_id:id}", "secret", shows=_secret)

SECRETS = (
    query("/developer/secrets", ListSecrets, write=fc.SECRETS),
    query("/developer/secrets/{secret_id:id}", GetSecret, write=fc.ONE_SECRET),
    query("/admin/secrets", ListSecrets, write=fc.SECRETS),  # without values: reading a value creates an access record
    command("GET", "/admin/secrets/{secret_id:id}", RevealSecret, write=fc.REVEALED_SECRET),
    command("POST", "/admin/secrets", CreateSecret, body=fc.SECRET, status=201, shows=_new_secret),
    patch_secret("name", RenameSecret, name=scalar),
    patch_secret("value", ChangeSecretValue, value=scalar, shows=_new_secret),
    patch_secret("env", SetSecretEnvironment, env=scalar),
    patch_secret("escape_char", ChangeEscapedCharacters, escape_char=text),
    patch_secret("projects", SetSecretProjects, projects_id=integers.otherwise(())),
    command("DELETE", "/admin/secrets/{secret_id:id}", DeleteSecret, status=204, errors=("SECRET_PROJECTS_NOT_EMPTY",)),
)
