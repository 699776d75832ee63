"""Ports to which Headrace may connect outside the cluster, and the documented patch that adds others."""

import os
import re
from pathlib import Path

import pytest
import yaml

from infra.service_catalog import SERVICES
from tests.unit.infra.kubernetes.manifests import MANIFESTS, OVERLAYS, ROOT, find_manifests, render

DEPLOYING = ROOT / "docs" / "operating" / "deploying.md"
POLICIES = ("headrace-repositories", "headrace-forges", "headrace-provider", "headrace-mail")
SECTION = re.compile(r"### Ports of other servers\n(.*?)\n### ", re.DOTALL)
ROW = re.compile(r"^\| `(?P<policy>\S+)` \| `(?P<component>\w+)`: [^|]* \| (?P<ports>[\d, ]+) \|$", re.MULTILINE)
EXAMPLE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def list_ports(policy: dict[str, object]) -> list[int]:
    [rule] = policy["spec"]["egress"]  # type: ignore[index]
    return [entry["port"] for entry in rule["ports"]]


def read_section() -> str:
    match = SECTION.search(DEPLOYING.read_text())
    assert match
    return match[1]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_documented_ports_are_those_of_the_policies(overlay: str) -> None:
    documented = {row["policy"]: (row["component"], row["ports"]) for row in ROW.finditer(read_section())}
    policies = find_manifests(overlay, "NetworkPolicy")
    assert tuple(documented) == POLICIES
    for name, (component, ports) in documented.items():
        assert component in SERVICES
        assert policies[name]["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/component": component}}
        assert ", ".join(str(port) for port in list_ports(policies[name])) == ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_documented_patch_adds_the_ports_of_a_forge(tmp_path: Path, overlay: str) -> None:
    example = EXAMPLE.search(read_section())
    assert example
    added = render_with_patches(tmp_path, overlay, example[1])
    before = {name: list_ports(find_manifests(overlay, "NetworkPolicy")[name]) for name in POLICIES}
    assert added == {
        "headrace-repositories": [*before["headrace-repositories"], 8443, 2222],
        "headrace-forges": [*before["headrace-forges"], 8443],
        "headrace-provider": before["headrace-provider"],
        "headrace-mail": before["headrace-mail"],
    }


def test_the_example_in_the_production_overlay_works_without_its_comment_signs(tmp_path: Path) -> None:
    lines = (MANIFESTS / "overlays" / "prod" / "kustomization.yaml").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  # - target: {kind: NetworkPolicy"))
    example = "\n".join(["patches:", *(line.replace("# ", "", 1) for line in lines[start:])])
    added = render_with_patches(tmp_path, "prod", example)
    assert 8443 in added["headrace-repositories"]
    assert 8443 in added["headrace-forges"]


def render_with_patches(folder: Path, overlay: str, patches: str) -> dict[str, list[int]]:
    """Render an overlay with these patches in its kustomization. Return the ports by policy."""
    base = os.path.relpath(MANIFESTS / "overlays" / overlay, folder.resolve())
    kustomization = {"resources": [base], **yaml.safe_load(patches)}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    manifests = {manifest["metadata"]["name"]: manifest for manifest in render(folder)}
    return {name: list_ports(manifests[name]) for name in POLICIES}
