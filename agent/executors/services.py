"""The service containers of a job: their host names and environments, the same for Docker and Kubernetes."""

import re
from collections.abc import Mapping
from string import Template

from agent.executors.docker_images import split_image
from agent.protocol.job import Image, Job


def service_aliases(image: Image) -> list[str]:
    """Return a service's host names: its aliases, and the names that GitLab derives from the image."""
    repository = re.sub(r":\d+/", "/", split_image(image.name)[0])
    return list(dict.fromkeys([*image.aliases, repository.replace("/", "__"), repository.replace("/", "-")]))


def service_environment(job: Job, service: Image, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service.

    It contains no masked variables of the job, because descriptions of containers and pods show the environment.
    """
    unmasked = (variable.key for variable in job.variables if not (variable.masked or variable.file))
    own = {variable.key: Template(variable.value).safe_substitute(variables) for variable in service.variables}
    return {key: variables[key] for key in unmasked if key in variables} | own
