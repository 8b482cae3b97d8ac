"""One file for each thing that contenders are made to do.

A work belongs to one contender in one cell: ``prepare`` once, ``once(size)`` for each round,
``close`` at the end, whatever happened. Every round of a cold work starts with a fresh mount and,
unless the work is about the cache, an empty one.
"""
