"""GitFlic's API: request fields, response models, access rules."""
