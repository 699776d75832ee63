"""Fixture: a NATS cluster."""

from collections.abc import Iterator

import pytest

from tests.support.infrastructure.nats_cluster import NatsCluster, nats_cluster


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with nats_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
