"""Parser of Free Commit's spec file: `from`, and steps with name and script. Headrace adds `timeout` of a step."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import yaml

from services.builds.pipeline.keywords.durations import parse_duration

MAX_SPEC_BYTES = 256 * 1024
MAX_STEPS = 500
MAX_TEXT_LENGTH = 4096
MAX_TIMEOUT_SECONDS = 365 * 24 * 3600
CLEANUP_STEP = "@cleanup"
RESERVED_NAMES = ("@init", "@abort", "@-1")  # log sections of every build; `-1` requests the first section
TOP_KEYS = {"version", "from", "steps"}
STEP_KEYS = {"name", "script", "timeout"}


class SpecUnreadable(Exception):
    """The spec file is too large or not UTF-8 text."""


class SpecInvalid(Exception):
    """The content of the spec file is invalid. The message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class SpecStep:
    name: str  # including the leading @
    script: str
    on_kill: bool
    timeout_seconds: int = 0  # 0: only the limit of the job applies


@dataclass(frozen=True, slots=True)
class Spec:
    image: str | None
    steps: tuple[SpecStep, ...]


@lru_cache(maxsize=256)  # consecutive builds of a project mostly have the same spec file
def parse_spec(content: bytes) -> Spec:
    """Parse the content of a spec file. Raises SpecUnreadable and SpecInvalid."""
    if len(content) > MAX_SPEC_BYTES:
        raise SpecUnreadable(f"the spec file is larger than {MAX_SPEC_BYTES // 1024} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise SpecUnreadable("the spec file is not UTF-8 text") from error
    top = _load_yaml(text)
    if top is None:
        raise SpecInvalid("the spec file is empty")
    if not isinstance(top, dict):
        raise SpecInvalid("the spec file must be a mapping with the key `steps`")
    _check_keys(top, TOP_KEYS, "the spec file")
    steps = top.get("steps")
    if not isinstance(steps, list) or not steps:
        raise SpecInvalid("the spec file has no steps: `steps` must be a list with at least one step")
    if len(steps) > MAX_STEPS:
        raise SpecInvalid(f"the spec file has more than {MAX_STEPS} steps")
    image = top.get("from")
    if image is not None and not isinstance(image, str):
        raise SpecInvalid("`from` must be text: the name of an image")
    return Spec(image, tuple(_with_unique_names([_parse_step(step, number) for number, step in enumerate(steps, 1)])))


def _load_yaml(text: str) -> object:
    """Load YAML in safe mode. Aliases are rejected, because a few bytes of aliases can expand to gigabytes."""
    try:
        for token in yaml.scan(text, Loader=yaml.CSafeLoader):
            if isinstance(token, yaml.AliasToken):
                raise SpecInvalid("the spec file uses a YAML alias, which is not supported")
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecInvalid(f"the spec file is not YAML: {error.problem}{where}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecInvalid(f"the spec file is not YAML: {type(error).__name__}") from error


def _check_keys(mapping: Mapping[object, object], keys: set[str], where: str) -> None:
    unknown = [str(key) for key in mapping if key not in keys]
    if unknown:
        raise SpecInvalid(f"{where} has the unknown key `{unknown[0]}`; known are {', '.join(sorted(keys))}")


def _parse_step(step: object, number: int) -> SpecStep:
    where = f"step {number}"
    if not isinstance(step, dict):
        raise SpecInvalid(f"{where} must be a mapping with `name` and `script`")
    _check_keys(step, STEP_KEYS, where)
    name, script = (_parse_text(step, key, where) for key in ("name", "script"))
    if not name.startswith("@") or not name.removeprefix("@").strip():
        raise SpecInvalid(f"{where}: the name must start with @, for example '@build'")
    return SpecStep(name, script, on_kill=name == CLEANUP_STEP, timeout_seconds=_parse_timeout(step, where))


def _parse_timeout(step: Mapping[object, object], where: str) -> int:
    """Return the timeout in seconds, given as a number or a duration such as `10m`. 0 if not set."""
    value = step.get("timeout")
    if value is None:
        return 0
    seconds = None if isinstance(value, bool) or not isinstance(value, int | str) else parse_duration(str(value))
    if not seconds:
        raise SpecInvalid(f"{where}: the timeout must be a number of seconds or a duration, for example 10m")
    return min(seconds, MAX_TIMEOUT_SECONDS)


def _parse_text(step: Mapping[object, object], key: str, where: str) -> str:
    value = step.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SpecInvalid(f"{where} has no {key}")
    if len(value) > MAX_TEXT_LENGTH or not value.isprintable():
        raise SpecInvalid(f"{where}: the {key} must be one line of at most {MAX_TEXT_LENGTH} characters")
    return value.strip()


def _with_unique_names(steps: list[SpecStep]) -> list[SpecStep]:
    """Make step names unique, because they name log sections: a second @build becomes @build-2."""
    used = {step.name for step in steps}
    counts: Counter[str] = Counter(RESERVED_NAMES)
    result = []
    for step in steps:
        counts[step.name] += 1
        name, number = step.name, counts[step.name]
        while number > 1 and (name := f"{step.name}-{number}") in used:
            number += 1
        used.add(name)
        result.append(replace(step, name=name))
    return result
