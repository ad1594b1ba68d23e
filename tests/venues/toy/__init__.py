"""A venue of the tests, written by docs/venues.md alone; its facts: README.md."""
