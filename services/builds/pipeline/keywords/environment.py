"""The keyword `environment`, which sets CI_ENVIRONMENT_* variables. Deployments themselves are not tracked."""

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


def parse_environment(node: Node | None, label: str, values: Mapping[str, str], warn: Warn) -> Variables:
    """Return the CI_ENVIRONMENT_* variables of a job. Raises SpecInvalid."""
    if node is None:
        return {}
    if not isinstance(node, MappingNode):
        return _environment_variables(name=as_text(node, f"`environment` of {label}"), values=values)
    for key in node.members:
        if key not in KNOWN_KEYWORDS:
            warn(
                f"{node.position_of(key)}: the keyword `{key}` in `environment` of {label} is unknown and has no effect"
            )
    name, url, tier, action = node.get("name"), node.get("url"), node.get("deployment_tier"), node.get("action")
    if name is None:
        fail(node.position, f"`environment` of {label} has no `name`")
    more = {
        "URL": as_text(url, f"`url` in `environment` of {label}") if url is not None else "",
        "TIER": as_text(tier, f"`deployment_tier` in `environment` of {label}") if tier is not None else "",
        "ACTION": as_choice(action, f"`action` in `environment` of {label}", ACTIONS)
        if action is not None
        else "start",
    }
    return _environment_variables(name=as_text(name, f"`name` in `environment` of {label}"), values=values, **more)


def _environment_variables(*, name: str, values: Mapping[str, str], **more: str) -> Variables:
    expanded = expand(name, values)
    set_values = {"NAME": name, "SLUG": _environment_slug(expanded), "ACTION": "start", **more}
    return {
        key: PlannedVariable(key=key, value=value)
        for key, value in ((f"CI_ENVIRONMENT_{short}", value) for short, value in set_values.items())
        if value
    }


def _environment_slug(name: str) -> str:
    """Return a host name label for the environment. A hash keeps shortened or altered names unique."""
    slug = to_slug(name)
    slug = slug if slug[:1].isalpha() else f"env-{slug}"
    if slug == name and len(slug) <= MAX_SLUG_LENGTH:
        return slug
    return f"{slug[: MAX_SLUG_LENGTH - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
