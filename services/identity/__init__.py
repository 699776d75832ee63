"""The identity service: users, companies, roles and authentication."""
