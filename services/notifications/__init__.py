"""The notifications service: e-mail about failed builds, with a record of each attempt."""
