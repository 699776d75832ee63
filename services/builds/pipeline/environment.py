"""`environment` of a job: the variables that it brings. Where something is deployed to is not kept."""

import hashlib
from collections.abc import Mapping

from contracts.builds import PlannedVariable
from services.builds.pipeline.conditions import Warn
from services.builds.pipeline.nodes import Block, Node, choice, text, wrong
from services.builds.pipeline.variables import expand, slug

ACTIONS = ("start", "prepare", "stop", "verify", "access")
KEYS = {"name", "url", "action", "deployment_tier", "on_stop", "auto_stop_in", "kubernetes"}
LONGEST_SLUG = 24  # characters
Variables = dict[str, PlannedVariable]


def environment(node: Node | None, what: str, values: Mapping[str, str], warn: Warn) -> Variables:
    if node is None:
        return {}
    if not isinstance(node, Block):
        return _variables(name=text(node, f"`environment` of {what}"), values=values)
    for key in node.members:
        if key not in KEYS:
            warn(f"{node.at(key)}: the keyword `{key}` in `environment` of {what} is not known and has no effect")
    name, url, tier, action = node.get("name"), node.get("url"), node.get("deployment_tier"), node.get("action")
    if name is None:
        wrong(node.place, f"`environment` of {what} has no `name`")
    more = {
        "URL": text(url, f"`url` in `environment` of {what}") if url is not None else "",
        "TIER": text(tier, f"`deployment_tier` in `environment` of {what}") if tier is not None else "",
        "ACTION": choice(action, f"`action` in `environment` of {what}", ACTIONS) if action is not None else "start",
    }
    return _variables(name=text(name, f"`name` in `environment` of {what}"), values=values, **more)


def _variables(*, name: str, values: Mapping[str, str], **more: str) -> Variables:
    known = expand(name, values)
    found = {"NAME": name, "SLUG": _slug(known), "ACTION": "start", **more}
    return {
        key: PlannedVariable(key=key, value=value)
        for key, value in ((f"CI_ENVIRONMENT_{short}", value) for short, value in found.items())
        if value
    }


def _slug(name: str) -> str:
    """What a host name may hold; shortened ones, and those that lost something, still differ."""
    found = slug(name)
    found = found if found[:1].isalpha() else f"env-{found}"
    if found == name and len(found) <= LONGEST_SLUG:
        return found
    return f"{found[: LONGEST_SLUG - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
