"""`python -m infra.web`: build and check the web console, whose sources are in `web/`."""
