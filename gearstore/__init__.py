"""A Gearman job server whose acknowledged jobs are on disk."""

__version__ = "0.1.0"
