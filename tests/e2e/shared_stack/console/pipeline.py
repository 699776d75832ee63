"""Sample projects for tests of the console: a pipeline with various jobs, and a job that reports its tests."""

from pathlib import Path

from tests.support.external.repositories import commit_files, create_sample_repository
from tests.support.stacks.running_stack import RunningStack

PIPELINE = r"""
stages: [check, test, deploy]
lint: {stage: check, script: ["echo linting"]}
compile: {stage: check, script: ["printf '\\033[32mcompiled\\033[0m all files\\n'"]}
unit tests:
  stage: test
  needs: [compile]
  script: ["seq 1 60", "echo '<b>FAILED</b> test_cart'", "cp junit.xml report.xml", "exit 3"]
  artifacts: {reports: {junit: report.xml}}
train: {stage: test, needs: [lint], tags: [gpu], script: ["echo training"]}
publish: {stage: deploy, when: manual, needs: [lint], script: ["echo published"]}
"""
REPORTING = """
unit tests: {script: ["%s"], artifacts: {reports: {junit: report.xml}}}
"""
FAILS = "cp junit.xml report.xml; exit 3"
PASSES = "sed '/<failure/s|.*|</testcase>|' junit.xml > report.xml"
REPORT = """<testsuite name="shop">
<testcase classname="shop.test_cart" name="test_total" time="0.012" file="shop/test_cart.py" line="7">
<failure message="assert 3 == 4">shop/test_cart.py:9: AssertionError</failure></testcase>
<testcase classname="shop.test_cart" name="test_with_a_name_that_is_longer_than_the_screen_of_a_telephone" time="1.2"/>
<testcase classname="shop.test_tax" name="test_rate"><skipped message="no network"/></testcase>
</testsuite>
"""


def create_pipeline_project(stack: RunningStack, folder: Path) -> int:
    repository = create_sample_repository(folder)
    commit_files(repository, {".gitlab-ci.yml": PIPELINE, "junit.xml": REPORT})
    return stack.create_project(repository, name="pipeline", spec_file_path="/.gitlab-ci.yml")


def create_reporting_project(stack: RunningStack, folder: Path, passes_if_exists: Path | None = None) -> int:
    """Create a project whose builds upload a report of their tests, and fail unless the given file exists."""
    script = f"if [ -e '{passes_if_exists}' ]; then {PASSES}; else {FAILS}; fi"
    repository = create_sample_repository(folder)
    commit_files(repository, {".gitlab-ci.yml": REPORTING % script, "junit.xml": REPORT})
    return stack.create_project(repository, spec_file_path="/.gitlab-ci.yml")
