"""Response models of Headrace's own resources."""
