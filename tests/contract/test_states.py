"""States of deciders are immutable: all streams of a category begin with the same object."""

from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

from infra.service_catalog import load_services
from libs.eventstore.decider import AnyCategory

CATEGORIES = {
    category.name: category
    for service in load_services()
    for category in service.categories
    if is_dataclass(category.decider.initial)
}


@pytest.mark.parametrize("category", CATEGORIES.values(), ids=list(CATEGORIES))
def test_the_initial_state_cannot_be_changed(category: AnyCategory) -> None:
    initial = category.decider.initial
    for field in fields(initial):
        with pytest.raises(FrozenInstanceError):
            setattr(initial, field.name, None)
