"""All scenes, and a function that plays them one after another on one stack."""

from pathlib import Path

from tests.support.stacks.running_stack import RunningStack
from tests.support.stacks.scene_setup import create_clients, create_scene_variables
from tests.support.stacks.scenes import ScenePlayer, load_scenes

SCENES = tuple(load_scenes(Path(__file__).parent / "scenes"))


def play_scenes(stack: RunningStack, folder: Path) -> dict[str, list[str]]:
    clients, variables = create_clients(stack), create_scene_variables(stack, folder)
    failures = {}
    for scene in SCENES:
        player = ScenePlayer(clients, dict(variables))
        for line in scene.calls:
            player.perform(line)
        failures[scene.title] = player.failures
    return failures
