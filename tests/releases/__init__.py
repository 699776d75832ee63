"""Recorded databases, streams and API responses of earlier releases. See docs/operating/upgrading.md."""
