"""Cache keys for runners: unique per project and branch protection, and safe in a path.

GitLab's runner appends the key to a directory that all projects with the same repository URL share, and leaves it to
the server to separate the caches of protected branches from those of other branches.
"""

import hashlib
import re

from contracts.builds import Assignment, JobVariable, PlannedCache

FALLBACK_VARIABLE = "CACHE_FALLBACK_KEY"  # its value is the key that runners try last, for all caches of a job
REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
UNSAFE = re.compile(r"(?P<reference>\$\{[A-Za-z_]\w*\})|[^A-Za-z0-9_.@+=,$-]+|\$|\.{2,}", re.ASCII)
MAX_KEY_LENGTH = 128  # characters; with the project and the protection, a key fits into a file name of 255 bytes


def separate_caches(assignment: Assignment) -> tuple[PlannedCache, ...]:
    """Return the job's caches with keys that are unique per project and branch protection.

    The value of the job's CACHE_FALLBACK_KEY is added to the fallback keys of each cache.
    """
    fallback_templates = [
        _to_template(variable) for variable in assignment.variables if variable.key == FALLBACK_VARIABLE
    ]

    def separate(cache: PlannedCache) -> PlannedCache:
        fallbacks = (*cache.fallback_keys, *fallback_templates)
        return cache.replace(
            key=_build_key(assignment, cache.key or "default"),
            fallback_keys=tuple(dict.fromkeys(_build_key(assignment, key) for key in fallbacks if key)),
        )

    return tuple(map(separate, assignment.caches))


def separate_fallback(assignment: Assignment, variable: JobVariable) -> JobVariable:
    """Return the variable that is sent to the runner.

    If the job has caches, the value of CACHE_FALLBACK_KEY becomes a unique key, since GitLab's runner uses it as a
    cache key. Other variables stay unchanged.
    """
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
    """Return the key as one path component.

    If characters are replaced or cut off, a hash is appended, so that different keys stay different. References to
    variables are kept in the form `${NAME}`, because only the runner knows their values, unless the key is too long.
    """
    template = REFERENCE.sub(lambda match: f"${{{match[1] or match[2]}}}", key)
    safe = UNSAFE.sub(lambda match: match["reference"] or "-", template)
    if safe == template and len(safe) <= MAX_KEY_LENGTH:
        return safe
    digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()[:12]
    if len(safe) > MAX_KEY_LENGTH:
        safe = REFERENCE.sub("-", safe)[: MAX_KEY_LENGTH - len(digest) - 1]
    return f"{safe}-{digest}"
