"""Routes of credentials: SSH keys for reading repositories."""

from functools import partial

from contracts.projects import (
    ChangeCredentialKey,
    CreateCredential,
    DeleteCredential,
    GetCredential,
    ListCredentials,
    RenameCredential,
    RevealCredential,
)
from gateway.adapters.free_commit import models as fc
from gateway.framework.fields import text
from gateway.framework.route_table import Shown, command, query
from gateway.routes.route_builders import patch_field
from libs.messaging.request_reply import ReturnQuery

_credential = Shown(ReturnQuery(RevealCredential, "credential_id"), fc.REVEALED_CREDENTIAL)
_new_credential = Shown(ReturnQuery(GetCredential, "credential_id"), fc.ECHOED_CREDENTIAL)
patch_credential = partial(patch_field, "/admin/credentials/{credential_id:id}", "credential", shows=_credential)

CREDENTIALS = (
    query("/developer/credentials", ListCredentials, write=fc.CREDENTIALS),
    query("/developer/credentials/{credential_id:id}", GetCredential, write=fc.ONE_CREDENTIAL),
    query("/admin/credentials", ListCredentials, write=fc.CREDENTIALS),
    command("GET", "/admin/credentials/{credential_id:id}", RevealCredential, write=fc.REVEALED_CREDENTIAL),
    command("POST", "/admin/credentials", CreateCredential, body=fc.CREDENTIAL, status=201, shows=_new_credential),
    patch_credential("name", RenameCredential, name=text),
    patch_credential("ssh_key", ChangeCredentialKey, ssh_key=text, shows=_new_credential),
    command(
        "DELETE", "/admin/credentials/{credential_id:id}", DeleteCredential, status=204, errors=("CREDENTIAL_IN_USE",)
    ),
)
