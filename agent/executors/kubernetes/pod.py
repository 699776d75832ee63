"""The pod of one job: a container for its steps, and one for each of its services, without access to the cluster."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.executors.kubernetes.settings import KubernetesSettings
from agent.protocol.job import Image

BUILD_CONTAINER = "build"
MANAGER_LABEL = {"app.kubernetes.io/managed-by": "headrace-agent"}
AGENT_LABEL = "headrace.agent"
JOB_LABEL = "headrace.job"
PULL_POLICIES = {"always": "Always", "if-not-present": "IfNotPresent", "never": "Never"}
# Canceling a step sends SIGTERM to all processes of the container, so its main process ignores SIGTERM.
KEEPALIVE_SCRIPT = "trap '' TERM; while sleep 3600; do :; done"


def build_pod(
    settings: KubernetesSettings,
    name: str,
    labels: Mapping[str, str],
    folders: Sequence[Path],
    lifetime_seconds: int,
    image: Image,
    services: Sequence[tuple[Image, Mapping[str, str]]],
    aliases: Sequence[str],
) -> dict[str, Any]:
    """Return the manifest of a pod.

    `folders`: empty folders of the job at the same paths as on the agent's machine. `services`: images of services with
    their environments. `aliases`: host names of all services, which share the addresses of the pod.
    """
    volumes = {f"folder-{number}": path for number, path in enumerate(folders)}
    build = _container(settings, BUILD_CONTAINER, image)
    build |= {
        "command": list(filter(None, image.entrypoint or ())) or None,
        "args": ["sh", "-c", KEEPALIVE_SCRIPT],
        "workingDir": str(folders[0]),
        "volumeMounts": [{"name": volume, "mountPath": str(path)} for volume, path in volumes.items()],
    }
    if image.entrypoint and not build["command"]:  # [""] disables the entrypoint
        build |= {"command": build["args"], "args": None}
    containers = [build]
    for number, (service, environment) in enumerate(services):
        containers.append(
            _container(settings, f"service-{number}", service)
            | {
                "command": list(filter(None, service.entrypoint or ())) or None,
                "args": list(service.command or ()) or None,
                "env": [{"name": key, "value": escape(value)} for key, value in environment.items()],
            }
        )
    size_limit = {"sizeLimit": settings.storage} if settings.storage else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {**MANAGER_LABEL, **labels}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": lifetime_seconds,  # Kubernetes terminates the pod even if the agent has stopped
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostAliases": [{"ip": "127.0.0.1", "hostnames": list(aliases)}] if aliases else None,
            "runtimeClassName": settings.runtime_class or None,
            "imagePullSecrets": [{"name": secret} for secret in settings.image_pull_secrets],
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, **_user(settings)},
            "containers": containers,
            "volumes": [{"name": volume, "emptyDir": size_limit} for volume in volumes],
        },
    }


def escape(value: str) -> str:
    """Return the value so that Kubernetes does not expand references such as $(NAME) in it."""
    return value.replace("$(", "$$(")


def pod_name(job_id: int, folder: Path) -> str:
    unique = re.sub(r"[^a-z0-9]", "", folder.name.rpartition("-")[2].lower())
    return f"job-{job_id}-{unique or 0}"


def _user(settings: KubernetesSettings) -> dict[str, Any]:
    if not settings.user:
        return {}
    user = int(settings.user)
    return {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user}


def _container(settings: KubernetesSettings, name: str, image: Image) -> dict[str, Any]:
    limits = {"memory": settings.memory, "cpu": f"{settings.cpus:g}" * bool(settings.cpus)}
    limits["ephemeral-storage"] = settings.storage
    pull_policy = PULL_POLICIES.get(image.pull_policies[0]) if image.pull_policies else None
    return {
        "name": name,
        "image": image.name,
        "imagePullPolicy": pull_policy,
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {resource: quantity for resource, quantity in limits.items() if quantity},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"], "add": [] if settings.user else list(settings.cap_add)},
        },
    }
