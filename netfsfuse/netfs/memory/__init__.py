"""Bytes in memory, and nothing of how they come or go. Imports nothing else of netfs.

``buffer``   a page-aligned buffer with references, lent to readers in slices
``pool``     all buffers of a mount: budget, eviction, reads that wait in order
``folio``    some blocks of a file in one buffer: filling, clean, void
``mapping``  which folio has which block of an inode
"""
