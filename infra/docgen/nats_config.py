"""infra/nats/nats.conf: accounts, logins and permissions of nats-server, written from what the services declare."""

from collections.abc import Iterable, Sequence

from contracts.messages import Message
from infra.nats_permissions import HEADRACE_ACCOUNT, STREAM_NAMES_SUBJECT, Login, build_logins
from libs.messaging.stream_mirrors import DELIVER_PREFIX, SOURCE_API
from libs.messaging.stream_mirrors import MIRROR_ACCOUNT as EVENTS
from libs.service.declaration import Service

HEADER = """# Written by `make docs` from the services' declarations (infra/nats_permissions.py); `make check` says when
# it is out of date. infra/nats/README.md says how to use it. Every password comes from the environment of nats-server.

listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
max_payload: 8MB
jetstream { store_dir: "/data" }
"""
MAX_CONSUMERS = 1000  # of a copy: whoever reads them could fill the server's memory with theirs


def render(services: Sequence[Service], gateway_messages: Iterable[type[Message]]) -> str:
    known = build_logins(services, gateway_messages)
    public = [one.name for one in services if one.is_public]
    inside = [*_render_users(known, HEADRACE_ACCOUNT), *_headrace_account_links(public)]
    outside = [*_render_users(known, EVENTS), *_events_account_links(public)]
    limited = f"{{ max_consumers: {MAX_CONSUMERS} }}"
    return "\n".join(
        [
            HEADER,
            "accounts {",
            *_render_account(HEADRACE_ACCOUNT, "enabled", inside),
            *_render_account(EVENTS, limited, outside),
            "}",
            "",
        ]
    )


def password_variable(login: str) -> str:
    """The variable with the login's password, in the clear or as bcrypt writes it."""
    return f"HEADRACE_NATS_PASSWORD_{login.upper()}"


def _render_account(name: str, jetstream: str, lines: Iterable[str]) -> list[str]:
    return [f"  {name} {{", f"    jetstream: {jetstream}", *(f"    {line}" for line in lines), "  }"]


def _render_users(logins: Iterable[Login], account: str) -> list[str]:
    lines = ["users: ["]
    for one in (one for one in logins if one.account == account):
        lines += [
            f"  {{ user: {one.name}, password: ${password_variable(one.name)}, permissions: {{",
            "    publish: {",
            *_render_subjects("allow", one.publish),
            *_render_subjects("deny", one.deny),
            "    }",
            "    subscribe: {",
            *_render_subjects("allow", one.subscribe),
            "    }",
            *(["    allow_responses: true"] if one.allow_responses else []),
            "  } }",
        ]
    return [*lines, "]"]


def _render_subjects(rule: str, subjects: Sequence[str]) -> list[str]:
    return [f"      {rule}: [", *(f'        "{one}"' for one in subjects), "      ]"] if subjects else []


def _headrace_account_links(public: Iterable[str]) -> list[str]:
    """What the streams' account shows to the other one, and what it may do with the copies there."""
    exports = ['{ service: "$JS.API.STREAM.NAMES", accounts: [EVENTS] }']
    imports = []
    for stream in public:
        exports += [
            f'{{ stream: "evt.{stream}.>", accounts: [{EVENTS}] }}',
            f'{{ stream: "{DELIVER_PREFIX}.{stream}.>", accounts: [{EVENTS}] }}',
            f'{{ service: "$JS.API.CONSUMER.CREATE.{stream}", accounts: [{EVENTS}] }}',
            f'{{ service: "$JS.FC.{stream}.>", accounts: [{EVENTS}] }}',
        ]
        imports.append(
            f'{{ service: {{ account: {EVENTS}, subject: "$JS.API.STREAM.*.{stream}" }}, '
            f'to: "$JS.{EVENTS}.API.STREAM.*.{stream}" }}'
        )
    return [*_render_list("exports", exports), *_render_list("imports", imports)]


def _events_account_links(public: Iterable[str]) -> list[str]:
    """A copy has no subjects of its own, so the original account is asked which stream holds a subject."""
    exports, imports = (
        [],
        [
            f'{{ service: {{ account: {HEADRACE_ACCOUNT}, subject: "$JS.API.STREAM.NAMES" }}, '
            f'to: "{STREAM_NAMES_SUBJECT}" }}'
        ],
    )
    for stream in public:
        exports.append(f'{{ service: "$JS.API.STREAM.*.{stream}", accounts: [{HEADRACE_ACCOUNT}] }}')
        imports += [
            f'{{ stream: {{ account: {HEADRACE_ACCOUNT}, subject: "evt.{stream}.>" }} }}',
            f'{{ stream: {{ account: {HEADRACE_ACCOUNT}, subject: "{DELIVER_PREFIX}.{stream}.>" }} }}',
            f'{{ service: {{ account: {HEADRACE_ACCOUNT}, subject: "$JS.API.CONSUMER.CREATE.{stream}" }}, '
            f'to: "{SOURCE_API}.CONSUMER.CREATE.{stream}" }}',
            f'{{ service: {{ account: {HEADRACE_ACCOUNT}, subject: "$JS.FC.{stream}.>" }} }}',
        ]
    return [
        f'mappings: {{ "$JS.API.STREAM.NAMES": {STREAM_NAMES_SUBJECT} }}',
        *_render_list("exports", exports),
        *_render_list("imports", imports),
    ]


def _render_list(name: str, entries: Iterable[str]) -> list[str]:
    return [f"{name}: [", *(f"  {one}" for one in entries), "]"]
