"""`python -m tests.nightly.run [part ...]`: run the long forms of the tests, or only these parts.

It prints which parts passed, failed or could not run. Each part writes a log to nightly-results/.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "nightly-results"
PYTEST = (sys.executable, "-m", "pytest", "-ra")


@dataclass(frozen=True)
class Part:
    name: str
    purpose: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    obstacle: Callable[[], str | None] = lambda: None  # returns why the part cannot run on this machine, or None


def missing_docker() -> str | None:
    from tests.support.infrastructure import containers

    reason: str | None = containers.find_docker_problem()
    return reason


def missing_cluster() -> str | None:
    return None if os.environ.get("KUBECONFIG") else "KUBECONFIG names no cluster"


def parts(seed: int) -> list[Part]:
    given = f"--hypothesis-seed={seed}"
    rounds = os.environ.get("HEADRACE_CHAOS_ROUNDS", "2")
    mutation = (sys.executable, "-m", "tests.nightly.mutation", "--seed", str(seed))
    fuzzed = ("tests/e2e/used_stack/test_openapi.py", given)
    thorough = ("tests/unit", "tests/contract", "-n", "2", given, "--hypothesis-profile=thorough")
    return [
        Part("long", "long forms of end-to-end tests", (*PYTEST, "-m", "nightly"), {"HEADRACE_NIGHTLY": "1"}),
        Part(
            "chaos",
            f"processes killed and stopped at random, seed {seed}, {rounds} rounds of each kind",
            (*PYTEST, "tests/chaos"),
            {"HEADRACE_CHAOS_ROUNDS": rounds, "HEADRACE_CHAOS_SEED": str(seed), "HEADRACE_NIGHTLY": "1"},
        ),
        Part(
            "fuzz-api",
            f"requests from the OpenAPI document, seed {seed}",
            (*PYTEST, *fuzzed),
            {"HEADRACE_FUZZ_EXAMPLES": "50"},
        ),
        Part("fuzz-units", f"properties with 2,000 examples each, seed {seed}", (*PYTEST, *thorough)),
        Part("mutation", f"a sample of mutants of the deciders, seed {seed}", mutation),
        Part(
            "soak",
            "20,000 builds with retention: disk and memory level off",
            (sys.executable, "-m", "tests.nightly.soak"),
        ),
        Part("coverage", "branch coverage of the whole suite", ("make", "coverage")),
        Part(
            "containers",
            "NATS and MongoDB as containers",
            (*PYTEST, "tests/contract", "tests/integration"),
            {"STACK": "containers"},
            missing_docker,
        ),
        Part("sbom", "software bills of materials of the image", ("make", "sbom")),
        Part("compose", "docker-compose.yml", ("make", "compose-test"), obstacle=missing_docker),
        Part("kubernetes", "the manifests on a cluster", ("make", "kube-test"), obstacle=missing_cluster),
    ]


def run(part: Part) -> tuple[str, float]:
    if reason := part.obstacle():
        return f"could not run: {reason}", 0.0
    started = time.monotonic()
    with (RESULTS / f"{part.name}.log").open("w") as log:
        result = subprocess.run(part.command, cwd=ROOT, env=os.environ | part.environment, stdout=log, stderr=log)
    return ("passed" if result.returncode == 0 else f"FAILED ({result.returncode})"), time.monotonic() - started


def last_line(part: Part) -> str:
    log = RESULTS / f"{part.name}.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return lines[-1].strip(" =")[:100] if lines else ""


def main() -> None:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**32))
    chosen = set(sys.argv[1:])
    everything = parts(seed)
    if unknown := chosen - {part.name for part in everything}:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in everything)}")
    RESULTS.mkdir(exist_ok=True)
    for old in RESULTS.glob("*.log"):
        old.unlink()
    report = [f"nightly, seed {seed} (repeat with SEED={seed})"]
    failed = False
    for part in everything:
        if chosen and part.name not in chosen:
            report.append(f"{part.name:11} not chosen")
            continue
        print(f"{part.name}: {part.purpose}", flush=True)  # noqa: T201
        outcome, seconds = run(part)
        failed = failed or outcome.startswith("FAILED")
        duration = f"{seconds:.0f} s, {last_line(part)}; " if seconds else ""
        report.append(
            f"{part.name:11} {outcome}: {duration}{part.purpose}" if duration else f"{part.name:11} {outcome}"
        )
        print(report[-1], flush=True)  # noqa: T201
    print("\n" + "\n".join(report))  # noqa: T201
    (RESULTS / "summary.txt").write_text("\n".join(report) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
