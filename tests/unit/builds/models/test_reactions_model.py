"""Model test of the reactions between builds, jobs and a concurrency group: late, in any order and more than once.

The builds belong to a project that runs one build at a time. Users, runners and the planner act at any time. There is
no model: the invariants say what must hold at any time, and what must hold when all reactions have been handled.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from contracts.builds import (
    FINISHED_JOB_STATUSES,
    BuildJobsChanged,
    BuildKilled,
    ChangeBuildPriority,
    DeleteBuild,
    JobAssigned,
    JobFinished,
    JobLost,
    JobRetried,
    JobStatus,
    RetryBuild,
)
from services.builds.domain.build_state import Phase
from services.builds.domain.internal_commands import (
    AssignJob,
    FinishJob,
    LaunchBuild,
    MarkJobLost,
    RerunBuildJob,
    StartJob,
    StopBuild,
    StopBuildJob,
    SupersedeBuild,
)
from services.builds.execution.leases import timeout_command
from tests.support.model_tests.decider_machine import run_machine, seldom
from tests.unit.builds.models.reaction_stage import (
    AT_WORK,
    BUILD_IDS,
    DAY,
    PROJECT,
    UNFINISHED,
    WITH_RUNNER,
    ReactionStage,
    chosen,
)


class ReactionMachine(ReactionStage):
    @precondition(lambda machine: machine.builds_in(Phase.NEW))
    @rule(build_id=chosen(lambda machine: machine.builds_in(Phase.NEW)), is_settled=st.booleans())
    def launch(self, build_id: int, is_settled: bool) -> None:
        """Launch a build. `is_settled`: handle all reactions, so that its jobs are queued if it gets the slot."""
        launch = LaunchBuild(84, build_id, build_id, f"e{build_id}", DAY, PROJECT, initiator_id=1)
        self.send(launch.replace(ref="main", delivery_id="d"))
        if is_settled:
            self.deliver_all()

    @precondition(lambda machine: machine.builds_in(*UNFINISHED))
    @rule(build_id=chosen(lambda machine: machine.builds_in(*UNFINISHED)))
    def kill(self, build_id: int) -> None:
        self.send(StopBuild(build_id))

    @precondition(lambda machine: BUILD_IDS[0] in machine.builds_in(*UNFINISHED))
    @rule(is_running=st.booleans())
    def supersede(self, is_running: bool) -> None:
        self.send(SupersedeBuild(BUILD_IDS[0], "main", BUILD_IDS[1], BUILD_IDS[1], running=is_running))

    @precondition(lambda machine: machine.builds_in(Phase.FINISHED))
    @rule(build_id=chosen(lambda machine: machine.builds_in(Phase.FINISHED)))
    def retry(self, build_id: int) -> None:
        self.send(RetryBuild(build_id=build_id))

    @precondition(lambda machine: machine.builds_in(Phase.RUNNING, Phase.CANCELING))
    @rule(build_id=chosen(lambda machine: machine.builds_in(Phase.RUNNING, Phase.CANCELING)))
    def begin_next_round(self, build_id: int) -> None:
        """Kill a build, at once the second time, and retry it, so that late commands meet another round of its jobs."""
        for command in (StopBuild(build_id), StopBuild(build_id), RetryBuild(build_id=build_id)):
            self.send(command)
            self.deliver_all()

    @precondition(lambda machine: machine.builds_in(Phase.FINISHED))
    @rule(build_id=chosen(lambda machine: machine.builds_in(Phase.FINISHED)), is_deleted=seldom(st.just(1), st.just(0)))
    def delete(self, build_id: int, is_deleted: int) -> None:
        if is_deleted:
            self.send(DeleteBuild(build_id=build_id))

    @precondition(lambda machine: machine.builds_in(*AT_WORK, Phase.FINISHED))
    @rule(build_id=chosen(lambda machine: machine.builds_in(*AT_WORK, Phase.FINISHED)), number=st.sampled_from((1, 2)))
    def rerun_job(self, build_id: int, number: int) -> None:
        self.send(RerunBuildJob(build_id, 10 * build_id + number))

    @precondition(lambda machine: machine.builds_in(*AT_WORK))
    @rule(build_id=chosen(lambda machine: machine.builds_in(*AT_WORK)), number=st.sampled_from((1, 2)))
    def cancel_job(self, build_id: int, number: int) -> None:
        self.send(StopBuildJob(build_id, 10 * build_id + number))

    @precondition(lambda machine: machine.builds_in(*UNFINISHED))
    @rule(
        build_id=chosen(lambda machine: machine.builds_in(*UNFINISHED)),
        priorities=st.lists(st.sampled_from((0, 5, 9)), min_size=1, max_size=3),
    )
    def change_priority(self, build_id: int, priorities: list[int]) -> None:
        for priority in priorities:
            self.send(ChangeBuildPriority(build_id=build_id, priority=priority))

    @precondition(lambda machine: machine.jobs_in(JobStatus.QUEUED))
    @rule(
        job_id=chosen(lambda machine: machine.jobs_in(JobStatus.QUEUED)),
        is_graceful=st.booleans(),
        reports=st.sampled_from(("start", "nothing", "late")),
    )
    def assign(self, job_id: int, is_graceful: bool, reports: str) -> None:
        attempt = self.attempt_of(job_id)
        self.send(AssignJob(job_id, attempt, 1, "r", "miller", "hash", is_graceful, reports == "late"))
        if reports == "start":
            self.send(StartJob(job_id, attempt))

    @rule(is_graceful=st.booleans())
    def assign_all(self, is_graceful: bool) -> None:
        """Handle all reactions and start all jobs, so that most sequences get far."""
        self.deliver_all()
        for job_id in self.jobs_in(JobStatus.QUEUED):
            self.assign(job_id, is_graceful, "start")

    @precondition(lambda machine: machine.jobs_in(*WITH_RUNNER))
    @rule(
        job_id=chosen(lambda machine: machine.jobs_in(*WITH_RUNNER)),
        status=st.sampled_from((JobStatus.SUCCESS, JobStatus.FAILED)),
        is_inline=st.booleans(),
    )
    def finish(self, job_id: int, status: JobStatus, is_inline: bool) -> None:
        self.send(FinishJob(job_id, self.attempt_of(job_id), status, 0), is_inline=is_inline)

    @precondition(lambda machine: machine.jobs_in(*WITH_RUNNER))
    @rule(job_id=chosen(lambda machine: machine.jobs_in(*WITH_RUNNER)), is_delivered=st.booleans())
    def lose(self, job_id: int, is_delivered: bool) -> None:
        self.send(MarkJobLost(job_id, self.attempt_of(job_id), "silent", is_delivered))

    @precondition(lambda machine: machine.jobs_in(*WITH_RUNNER))
    @rule(
        job_id=chosen(lambda machine: machine.jobs_in(*WITH_RUNNER)),
        end=st.sampled_from(("overdue", "lost", "not delivered", JobStatus.SUCCESS, JobStatus.FAILED)),
    )
    def decide_end(self, job_id: int, end: str) -> None:
        """Decide from the row of a job how its attempt ends. The command is sent later, perhaps in another round."""
        attempt = self.attempt_of(job_id)
        match end:
            case "overdue":
                self.late.append(timeout_command(self.row_of(job_id)))
            case "lost" | "not delivered":
                self.late.append(MarkJobLost(job_id, attempt, "silent", end == "lost"))
            case _:
                self.late.append(FinishJob(job_id, attempt, JobStatus(end), 0))

    @precondition(lambda machine: machine.late)
    @rule(number=st.runner().flatmap(lambda machine: st.integers(0, len(machine.late) - 1)), is_inline=st.booleans())
    def send_late(self, number: int, is_inline: bool) -> None:
        self.send(self.late.pop(number), is_inline=is_inline)

    @precondition(lambda machine: machine.pending)
    @rule(number=st.runner().flatmap(lambda machine: st.integers(0, len(machine.pending) - 1)))
    def react(self, number: int) -> None:
        """Deliver a pending reaction, not necessarily the oldest one."""
        self.deliver(self.pending.pop(number))

    @precondition(lambda machine: machine.pending)
    @rule()
    def react_in_order(self) -> None:
        """Deliver the three oldest reactions in order, as a subscription that reads the events again."""
        for reaction in [self.pending.pop(0) for _ in self.pending[:3]]:
            self.deliver(reaction)

    @precondition(lambda machine: machine.delivered)
    @rule(number=st.runner().flatmap(lambda machine: st.integers(0, len(machine.delivered) - 1)))
    def react_again(self, number: int) -> None:
        self.deliver(self.delivered[number])

    @rule()
    def settle(self) -> None:
        """Handle all reactions in order. Afterwards nothing is left waiting and nothing runs without its build."""
        self.deliver_all()
        group, builds = self.group(), self.builds
        waiting = [request.build_id for request in group.waiting]
        holder = group.holder.build_id if group.holder else None
        assert builds[holder].phase in AT_WORK if holder else not waiting, f"build {holder} keeps the slot"
        for build_id, build in builds.items():
            is_waiting = build.phase in (Phase.QUEUED, Phase.RESUMED)
            # the request of a build that was killed before can arrive last: it has no effect except at its turn
            may_wait = is_waiting or build.phase in (Phase.FINISHED, Phase.DELETED)
            is_consistent = may_wait if build_id in waiting else not is_waiting
            assert is_consistent, f"build {build_id} is {build.phase}, {waiting} wait"
            assert build.phase not in AT_WORK or build.graph.queued, f"build {build_id} has nothing to do, and no end"
            for job_id in build.graph.statuses:
                job = self.jobs[job_id]
                is_unfinished = job.status is not None and job.status not in FINISHED_JOB_STATUSES
                is_expected = build.phase in AT_WORK and job_id in build.graph.queued
                assert is_unfinished == is_expected, f"job {job_id} is {job.status} in a build that is {build.phase}"
                assert not is_unfinished or job.spec.priority == build.priority, f"job {job_id} has another priority"

    @invariant()
    def a_build_at_work_has_the_slot(self) -> None:
        """Therefore one build of the concurrency group runs at a time."""
        holder = self.group().holder
        for build_id, build in self.builds.items():
            assert build.phase not in AT_WORK or (holder and build_id == holder.build_id)

    @invariant()
    def what_is_decided_about_an_attempt_ends_no_other(self) -> None:
        """An attempt without a runner ends only if it is canceled."""
        assigned = {(event.job_id, event.attempt) for event in self.recorded_events(JobAssigned)}
        for event in (*self.recorded_events(JobLost), *self.recorded_events(JobRetried)):
            assert (event.job_id, event.attempt) in assigned
        for event in self.recorded_events(JobFinished):
            assert event.status is JobStatus.CANCELED or (event.job_id, event.attempt) in assigned

    @invariant()
    def a_round_of_a_job_is_canceled_only_at_the_request_of_its_build(self) -> None:
        requested: set[tuple[int, int]] = set()
        for killed in self.recorded_events(BuildKilled):
            requested.update(zip(killed.job_ids, killed.job_rounds, strict=True))
        for changed in self.recorded_events(BuildJobsChanged):
            requested.update(zip(changed.stopped, changed.stopped_rounds, strict=True))
        for event in self.recorded_events(JobFinished):
            assert event.status is not JobStatus.CANCELED or (event.job_id, event.round) in requested

    @invariant()
    def a_result_in_a_build_is_that_of_the_current_round_of_the_job(self) -> None:
        results = {(event.job_id, event.round, event.status) for event in self.recorded_events(JobFinished)}
        for build in self.builds.values():
            for job_id, status in build.graph.statuses.items():
                if status in (JobStatus.SUCCESS, JobStatus.FAILED):
                    assert (job_id, build.graph.jobs[job_id].round, status) in results


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_reactions_leave_no_build_and_no_job_behind() -> None:
    run_machine(ReactionMachine, max_rules=60)
