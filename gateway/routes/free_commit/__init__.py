"""Routes of Free Commit's API."""
