"""Models of request bodies and responses of Headrace's own resources."""
