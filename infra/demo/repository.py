"""The repository that the demo builds: a generated sample, or the user's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infra.demo.git_server import GitServer, local_address_for
from infra.local.process import OperatorError

SECRET_NAME = "DEMO_TOKEN"  # noqa: S105  a name, not a value

SPEC_FILE = """\
version: "1.0"
from: debian:12
steps:
  - name: "@test"
    script: /ci/test.sh
  - name: "@build"
    script: /ci/build.sh
  - name: "@deploy"
    script: /ci/deploy.sh
"""

TEST_SCRIPT = """\
echo "testing commit $CI_COMMIT_SHORT_SHA on $(uname -sm)"
for part in pages basket payment; do
  sleep 0.7
  echo "  $part ... ok"
done
"""

BUILD_SCRIPT = """\
mkdir -p out
for page in src/*.txt; do
  sleep 0.7
  tr a-z A-Z < "$page" > "out/$(basename "$page" .txt).html"
  echo "made out/$(basename "$page" .txt).html ($(wc -c < "$page") bytes)"
done
export ARTIFACTS=$(ls out | wc -l)
"""

DEPLOY_SCRIPT = f"""\
echo "the steps share one shell: the step before left ARTIFACTS=$ARTIFACTS"
sleep 0.7
echo "logging in with the token ${SECRET_NAME}"
printf 'in base64 it is %s\\n' "$(printf %s "${SECRET_NAME}" | base64)"
sleep 0.7
echo "shipped"
"""

SAMPLE_FILES = {
    "headrace.yaml": SPEC_FILE,
    "ci/test.sh": TEST_SCRIPT,
    "ci/build.sh": BUILD_SCRIPT,
    "ci/deploy.sh": DEPLOY_SCRIPT,
    "src/index.txt": "welcome to the web shop\n",
    "src/basket.txt": "your basket is empty\n",
    "src/payment.txt": "cards, cash and shells\n",
    "README.md": "# Web shop\n\nThe sample that `headrace server demo` builds; see headrace.yaml and ci/.\n",
}


@dataclass(frozen=True, slots=True)
class Repository:
    url: str
    branch: str  # or "*": the default branch
    spec: str
    is_sample: bool


def select_repository(environ: Mapping[str, str], sample_folder: Path) -> Repository:
    """Return the repository selected by REPO, BRANCH and SPEC, or a new sample created in `sample_folder`."""
    address = environ.get("REPO", "")
    if not address:
        create_sample(sample_folder)
        return Repository(str(sample_folder), "main", "/headrace.yaml", is_sample=True)
    local = Path(address).expanduser()
    if local.exists():
        address = str(local.absolute())
    return Repository(address, environ.get("BRANCH") or "*", environ.get("SPEC") or "/headrace.yaml", is_sample=False)


@contextmanager
def serve_repository(repository: Repository, server_url: str) -> Iterator[Repository]:
    """Serve the sample repository over HTTP to the system at `server_url`. Yield it with its HTTP URL.

    A repository of the user is yielded unchanged and not served.
    """
    if not repository.is_sample:
        yield repository
        return
    sample = Path(repository.url)
    host = local_address_for(server_url)
    server = GitServer(sample.parent, host)
    with server.run_in_thread():
        yield replace(repository, url=f"http://{host}:{server.server_port}/{sample.name}/.git")


def create_sample(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for name, text in SAMPLE_FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    _run_git(folder, "init", "--quiet", "--initial-branch=main")
    _run_git(folder, "add", "--all")
    _run_git(folder, "commit", "--quiet", "--message=A web shop with its pipeline")


def _run_git(folder: Path, *arguments: str) -> None:
    """Run git without the user's configuration: no signing, no hooks, a fixed author."""
    who = {f"GIT_{role}_{part}": f"{name}" for role in ("AUTHOR", "COMMITTER") for part, name in COMMIT_AUTHOR.items()}
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise OperatorError("git is not installed. On Debian: apt-get install -y git") from None
    except subprocess.CalledProcessError as error:
        raise OperatorError(f"git {arguments[0]} failed in {folder}: {error.stderr.strip()}") from error


COMMIT_AUTHOR = {"NAME": "Headrace demo", "EMAIL": "demo@localhost"}
