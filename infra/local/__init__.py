"""The embedded stack: servers, processes, supervisor and data folder on one machine."""
