"""Free Commit's API: request fields, response models, handlers, paging."""
