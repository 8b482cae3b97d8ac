"""PURE: pages of mapped files among what is written."""

from __future__ import annotations

_PAGE = 4096


def may_be_mapped(start: int, length: int, kernel_size: int) -> bool:
    """Whether a write by a handle that appends may be of whole mapped pages, which the kernel
    writes by any handle of the file, where they are, below the size that it knows of."""
    end = start + length
    return not start % _PAGE and end <= kernel_size and (not end % _PAGE or end == kernel_size)
