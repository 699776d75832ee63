"""Unit tests of the command line and the local stack."""
