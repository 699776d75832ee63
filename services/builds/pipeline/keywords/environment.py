"""`environment` of a job: the variables that it brings. Where something is deployed to is not kept."""

import hashlib
from collections.abc import Mapping

from contracts.builds import PlannedVariable
from services.builds.pipeline.document.ast_nodes import MappingNode, Node, as_choice, as_text, fail
from services.builds.pipeline.rules.conditions import Warn
from services.builds.pipeline.variables import expand, to_slug

ACTIONS = ("start", "prepare", "stop", "verify", "access")
KNOWN_KEYWORDS = {"name", "url", "action", "deployment_tier", "on_stop", "auto_stop_in", "kubernetes"}
MAX_SLUG_LENGTH = 24  # characters
Variables = dict[str, PlannedVariable]


def parse_environment(node: Node | None, what: str, values: Mapping[str, str], warn: Warn) -> Variables:
    if node is None:
        return {}
    if not isinstance(node, MappingNode):
        return _environment_variables(name=as_text(node, f"`environment` of {what}"), values=values)
    for key in node.members:
        if key not in KNOWN_KEYWORDS:
            warn(
                f"{node.position_of(key)}: the keyword `{key}` in `environment` of {what} "
                f"is not known and has no effect"
            )
    name, url, tier, action = node.get("name"), node.get("url"), node.get("deployment_tier"), node.get("action")
    if name is None:
        fail(node.place, f"`environment` of {what} has no `name`")
    more = {
        "URL": as_text(url, f"`url` in `environment` of {what}") if url is not None else "",
        "TIER": as_text(tier, f"`deployment_tier` in `environment` of {what}") if tier is not None else "",
        "ACTION": as_choice(action, f"`action` in `environment` of {what}", ACTIONS) if action is not None else "start",
    }
    return _environment_variables(name=as_text(name, f"`name` in `environment` of {what}"), values=values, **more)


def _environment_variables(*, name: str, values: Mapping[str, str], **more: str) -> Variables:
    known = expand(name, values)
    found = {"NAME": name, "SLUG": _environment_slug(known), "ACTION": "start", **more}
    return {
        key: PlannedVariable(key=key, value=value)
        for key, value in ((f"CI_ENVIRONMENT_{short}", value) for short, value in found.items())
        if value
    }


def _environment_slug(name: str) -> str:
    """What a host name may hold; shortened ones, and those that lost something, still differ."""
    found = to_slug(name)
    found = found if found[:1].isalpha() else f"env-{found}"
    if found == name and len(found) <= MAX_SLUG_LENGTH:
        return found
    return f"{found[: MAX_SLUG_LENGTH - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
