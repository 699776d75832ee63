"""Cache keys as they are sent to runners: apart by project and by protection, and safe in a path.

GitLab's runner joins a key to the path of a folder that the projects of one repository URL share. The caches of
protected branches are kept apart from others by GitLab's server, not by its runner; here this module does it.
"""

import hashlib
import re

from contracts.builds import Assignment, JobVariable, PlannedCache

FALLBACK_VARIABLE = "CACHE_FALLBACK_KEY"  # a variable: the key to try last, for all caches of a job
REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
UNSAFE = re.compile(r"(?P<reference>\$\{[A-Za-z_]\w*\})|[^A-Za-z0-9_.@+=,$-]+|\$|\.{2,}", re.ASCII)
MAX_KEY_LENGTH = 128  # characters; a file name has at most 255 bytes, project and protection included


def separate_caches(assignment: Assignment) -> tuple[PlannedCache, ...]:
    """Return the job's caches with the keys that are sent."""
    last = [_to_template(one) for one in assignment.variables if one.key == FALLBACK_VARIABLE]

    def separate(cache: PlannedCache) -> PlannedCache:
        fallbacks = (*cache.fallback_keys, *last)
        return cache.replace(
            key=_build_key(assignment, cache.key or "default"),
            fallback_keys=tuple(dict.fromkeys(_build_key(assignment, one) for one in fallbacks if one)),
        )

    return tuple(map(separate, assignment.caches))


def separate_fallback(assignment: Assignment, variable: JobVariable) -> JobVariable:
    """Return the variable as it is sent: GitLab's runner takes this one's value as the key of a cache."""
    if variable.key != FALLBACK_VARIABLE or not variable.value or not assignment.caches:
        return variable
    key = _build_key(assignment, _to_template(variable))
    return variable.replace(value=key, raw="$" not in key)


def _to_template(variable: JobVariable) -> str:
    return variable.value if variable.raw else variable.value.replace("$$", "$")


def _build_key(assignment: Assignment, key: str) -> str:
    protection = "protected" if assignment.protected else "non_protected"
    return f"{assignment.project.project_id}-{sanitize_key(key)}-{protection}"


def sanitize_key(key: str) -> str:
    """Return one path component. What is replaced in it leaves a hash, so that different keys stay different.

    References to variables that only the runner knows stay, as `${NAME}`.
    """
    template = REFERENCE.sub(lambda found: f"${{{found[1] or found[2]}}}", key)
    safe = UNSAFE.sub(lambda found: found["reference"] or "-", template)
    if safe == template and len(safe) <= MAX_KEY_LENGTH:
        return safe
    digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()[:12]
    if len(safe) > MAX_KEY_LENGTH:
        safe = REFERENCE.sub("-", safe)[: MAX_KEY_LENGTH - len(digest) - 1]
    return f"{safe}-{digest}"
