"""Tests of docker-compose.yml on a Docker engine."""
