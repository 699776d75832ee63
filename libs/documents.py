"""Types of MongoDB documents and filters."""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]
Filter = Mapping[str, Any]
