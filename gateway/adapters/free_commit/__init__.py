"""Free Commit's API: request fields, response models with their serializers, paging."""
