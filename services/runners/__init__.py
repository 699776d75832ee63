"""The runners service: registration, authentication and online status of runners."""
