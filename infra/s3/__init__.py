"""A real S3 server on loopback, for tests and for trying things: OpenStack Swift with its S3 API (see ``serve``)."""
