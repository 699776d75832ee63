"""Response models of the routes in `gateway.routers.console`."""
