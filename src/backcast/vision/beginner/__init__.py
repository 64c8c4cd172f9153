"""A small model for generated scenes: made offline, its eye taught first, so that it can learn to look."""
