"""The room's own search: ruin and recreate in numba."""
