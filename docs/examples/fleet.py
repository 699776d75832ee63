"""Draw the fleet from events alone, with plain nats-py: which runners there are, and what each of them is doing."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import nats

SETTINGS = ("name", "description", "tags", "run_untagged", "locked", "protected", "active", "max_timeout_seconds")
OWNER = ("owner_type", "owner_id")
OVER = ("SUCCESS", "FAILED", "CANCELED")


@dataclass
class Fleet:
    runners: dict[str, dict[str, Any]] = field(default_factory=dict)  # by UUID
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)  # by number
    last: dict[str, int] = field(default_factory=dict)  # stream -> sequence: how far it was told

    def tell(self, name: str, at: str, event: dict[str, Any]) -> None:
        """Whatever is not of interest, also what a later release may tell, changes nothing."""
        runner = self.runners.get(event.get("runner_uuid") or "", {})
        job = self.jobs.get(event.get("job_id") or 0, {})
        match name:
            case "RunnerRegistered":
                known = {one: event[one] for one in (*SETTINGS, *OWNER, "info")}
                self.runners[event["runner_uuid"]] = known | {"online": False, "registered_at": at}
            case "RunnerEdited":
                runner.update({one: event[one] for one in SETTINGS})
            case "RunnerInfoChanged":
                runner.update(info=event["info"])
            case "RunnerOnline" | "RunnerOffline":
                runner.update(online=name == "RunnerOnline")
            case "RunnerShutDown":
                runner.update(active=False)
            case "RunnerDeleted":
                self.runners.pop(event["runner_uuid"], None)
            case "JobQueued":  # also when it is tried again
                facts = {one: event[one] for one in ("build_id", "project_id", "ref", "sha", "priority", "attempt")}
                words = {one: event["job"][one] for one in ("name", "stage", "tags", "timeout_seconds")}
                queued = {"project_name": event["project"]["name"], "status": "QUEUED", "queued_at": at}
                self.jobs[event["job_id"]] = facts | words | queued
            case "JobAssigned":
                job.update({one: event[one] for one in ("runner_uuid", "runner_name")}, status="ASSIGNED")
                job.update(assigned_at=at)
            case "JobStarted":
                # some runners report late: such a job has run since it was assigned
                job.update(status="RUNNING", started_at=job["assigned_at"] if event.get("since_assignment") else at)
            case "JobCanceling":
                job.update(status="CANCELING")
            case "JobPriorityChanged":
                job.update(priority=event["priority"])
            case "JobFinished":
                job.update({one: event[one] for one in ("status", "exit_code", "reason", "message")}, finished_at=at)
            case "JobDeleted":
                self.jobs.pop(event["job_id"], None)

    def picture(self) -> str:
        lines = []
        for uuid, runner in self.runners.items():
            busy = [job for job in self.jobs.values() if job.get("runner_uuid") == uuid and job["status"] not in OVER]
            work = ", ".join(f"{job['project_name']}: {job['name']} ({job['status']})" for job in busy) or "idle"
            state = "online" if runner["online"] else "offline"
            paused = "" if runner["active"] else ", takes nothing"
            lines.append(f"{runner['name']:<20} {state}{paused:<16} {work}")
        waiting = sum(job["status"] == "QUEUED" for job in self.jobs.values())
        return "\n".join([*lines, f"{waiting} jobs wait"])


async def follow(fleet: Fleet, stream: str) -> None:
    """All that the stream holds and then what comes, permanently."""
    async with await nats.connect(os.environ["HEADRACE_NATS_URL"], max_reconnect_attempts=-1) as bus:
        events = await bus.jetstream().subscribe(f"evt.{stream}.>", stream=stream, ordered_consumer=True)
        async for message in events.messages:
            name = message.subject.rpartition(".")[2]
            if name != "Emptied":  # then all events come once more, from the first one on
                fleet.tell(name, message.headers["ce-time"], json.loads(message.data))
            fleet.last[stream] = message.metadata.sequence.stream


async def main() -> None:
    fleet = Fleet()
    async with asyncio.TaskGroup() as group:
        for stream in ("runners", "builds"):
            group.create_task(follow(fleet, stream))
        while True:
            await asyncio.sleep(2)
            sys.stdout.write(f"{fleet.picture()}\n\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
