"""The notifications service: e-mail about failed builds and results at forges, with a record of each attempt."""
