"""Memory that is freed stays with the process."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""
LARGEST = 2**30
"""Bytes; blocks up to this size come from the heap, and as much may lie free at its end."""


def keep_freed() -> None:
    """Make glibc hand freed blocks out again instead of giving them back to the system; nothing elsewhere.

    Activations are tens of megabytes and come and go with every layer. Each time anew the system would have to find
    and clear their pages, which took up to four fifths of a pass (docs/speed.md). Changes the whole process, so a
    program calls it, never a library.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST)
