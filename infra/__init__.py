"""What runs around the project: the local S3 server, benchmarks, example configurations. Not part of the wheel."""
