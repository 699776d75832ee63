"""infra/nats/nats.conf: accounts, logins and permissions of nats-server, written from what the services declare."""

from collections.abc import Iterable, Sequence

from contracts.messages import Message
from infra.permissions import HEADRACE, NAMES, Login, logins
from libs.mirrors import ACCOUNT as EVENTS
from libs.mirrors import DELIVERED, ORIGINALS
from libs.service import Service

HEAD = """# Written by `make docs` from the services' declarations (infra/permissions.py); `make check` says when it is
# out of date. infra/nats/README.md says how to use it. Every password comes from the environment of nats-server.

listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
max_payload: 8MB
jetstream { store_dir: "/data" }
"""
MOST_CONSUMERS = 1000  # of a copy: whoever reads them could fill the server's memory with theirs


def text(services: Sequence[Service], from_gateway: Iterable[type[Message]]) -> str:
    known = logins(services, from_gateway)
    public = [one.name for one in services if one.public]
    inside = [*_users(known, HEADRACE), *_inside(public)]
    outside = [*_users(known, EVENTS), *_outside(public)]
    limited = f"{{ max_consumers: {MOST_CONSUMERS} }}"
    return "\n".join(
        [HEAD, "accounts {", *_account(HEADRACE, "enabled", inside), *_account(EVENTS, limited, outside), "}", ""]
    )


def password(login: str) -> str:
    """The variable with the login's password, in the clear or as bcrypt writes it."""
    return f"HEADRACE_NATS_PASSWORD_{login.upper()}"


def _account(name: str, jetstream: str, lines: Iterable[str]) -> list[str]:
    return [f"  {name} {{", f"    jetstream: {jetstream}", *(f"    {line}" for line in lines), "  }"]


def _users(known: Iterable[Login], account: str) -> list[str]:
    lines = ["users: ["]
    for one in (one for one in known if one.account == account):
        lines += [
            f"  {{ user: {one.name}, password: ${password(one.name)}, permissions: {{",
            "    publish: {",
            *_subjects("allow", one.publish),
            *_subjects("deny", one.never),
            "    }",
            "    subscribe: {",
            *_subjects("allow", one.subscribe),
            "    }",
            *(["    allow_responses: true"] if one.answers else []),
            "  } }",
        ]
    return [*lines, "]"]


def _subjects(what: str, subjects: Sequence[str]) -> list[str]:
    return [f"      {what}: [", *(f'        "{one}"' for one in subjects), "      ]"] if subjects else []


def _inside(public: Iterable[str]) -> list[str]:
    """What the streams' account shows to the other one, and what it may do with the copies there."""
    exports = ['{ service: "$JS.API.STREAM.NAMES", accounts: [EVENTS] }']
    imports = []
    for stream in public:
        exports += [
            f'{{ stream: "evt.{stream}.>", accounts: [{EVENTS}] }}',
            f'{{ stream: "{DELIVERED}.{stream}.>", accounts: [{EVENTS}] }}',
            f'{{ service: "$JS.API.CONSUMER.CREATE.{stream}", accounts: [{EVENTS}] }}',
            f'{{ service: "$JS.FC.{stream}.>", accounts: [{EVENTS}] }}',
        ]
        imports.append(
            f'{{ service: {{ account: {EVENTS}, subject: "$JS.API.STREAM.*.{stream}" }}, '
            f'to: "$JS.{EVENTS}.API.STREAM.*.{stream}" }}'
        )
    return [*_list("exports", exports), *_list("imports", imports)]


def _outside(public: Iterable[str]) -> list[str]:
    """A copy has no subjects of its own, so the original account is asked which stream holds a subject."""
    exports, imports = [], [f'{{ service: {{ account: {HEADRACE}, subject: "$JS.API.STREAM.NAMES" }}, to: "{NAMES}" }}']
    for stream in public:
        exports.append(f'{{ service: "$JS.API.STREAM.*.{stream}", accounts: [{HEADRACE}] }}')
        imports += [
            f'{{ stream: {{ account: {HEADRACE}, subject: "evt.{stream}.>" }} }}',
            f'{{ stream: {{ account: {HEADRACE}, subject: "{DELIVERED}.{stream}.>" }} }}',
            f'{{ service: {{ account: {HEADRACE}, subject: "$JS.API.CONSUMER.CREATE.{stream}" }}, '
            f'to: "{ORIGINALS}.CONSUMER.CREATE.{stream}" }}',
            f'{{ service: {{ account: {HEADRACE}, subject: "$JS.FC.{stream}.>" }} }}',
        ]
    return [f'mappings: {{ "$JS.API.STREAM.NAMES": {NAMES} }}', *_list("exports", exports), *_list("imports", imports)]


def _list(name: str, entries: Iterable[str]) -> list[str]:
    return [f"{name}: [", *(f"  {one}" for one in entries), "]"]
