"""Settings of the executor `kubernetes` in the agent's configuration file."""

import re
from dataclasses import dataclass

QUANTITY = re.compile(r"(\d+([kMGT]i?)?)?")


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    namespace: str = "headrace-jobs"  # namespace of the jobs' pods
    image: str = ""  # default image of jobs
    user: str = ""  # user id of the containers, not 0; default: the user of the image, which may be root
    memory: str = "4Gi"  # limit of each container; empty: no limit
    cpus: float = 2.0  # limit of each container; 0: no limit
    storage: str = "20Gi"  # disk space of each container and of each volume; empty: no limit
    # capabilities of containers if `user` is not set; all others are dropped
    cap_add: tuple[str, ...] = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
    image_pull_secrets: tuple[str, ...] = ()  # names of secrets in the namespace of the jobs
    runtime_class: str = ""  # such as gvisor; empty: the cluster's default
    start_seconds: int = 300  # maximum time until the containers of a job run

    def __post_init__(self) -> None:
        for name, value in (("memory", self.memory), ("storage", self.storage)):
            if not QUANTITY.fullmatch(value):
                raise ValueError(f"kubernetes.{name} must be a quantity such as 512Mi or 4Gi")
        if self.user and not (self.user.isdecimal() and int(self.user)):
            raise ValueError("kubernetes.user must be a user id other than 0")
        if self.start_seconds < 1:
            raise ValueError("kubernetes.start_seconds must be at least 1")
