"""The Dockerfile and the software bills of materials of the image. No Docker is needed."""

import re
from pathlib import Path

from infra.sbom.__main__ import find_unlocked
from libs.version import VERSION

ROOT = Path(__file__).parents[4]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_image_has_labels_with_the_release_and_its_origin() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', DOCKERFILE))
    assert labels["version"] == VERSION
    assert labels.keys() >= {"title", "description", "revision", "created", "base.name"}
    final_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    used = {name for value in labels.values() for name in re.findall(r"\$\{(\w+)\}", value)}
    assert used == set(re.findall(r"^ARG (\w+)", final_stage, re.MULTILINE))


def test_build_arguments_that_change_often_are_declared_after_the_last_step() -> None:
    final_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^(RUN|COPY) ", final_stage.partition("\nARG ")[2], re.MULTILINE) is None


def test_a_package_that_is_not_in_the_lock_file_is_found() -> None:
    lock = (
        "httpx==0.28.1 \\\n    --hash=sha256:00\n    # via\n    #   headrace==1\npywin32==1 ; sys_platform == 'win32'\n"
    )
    assert find_unlocked("httpx==0.28.1 \\\n    --hash=sha256:00\n", lock) == []
    assert find_unlocked("httpx==0.28.2 \\\n    --hash=sha256:00\nrich==1\n", lock) == ["httpx==0.28.2", "rich==1"]
