"""Models of request bodies and responses of the routes in `gateway.routers.console`."""
