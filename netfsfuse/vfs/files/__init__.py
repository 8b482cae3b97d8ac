"""Open files. Imports ``prefetch``, ``tree`` and what they stand on.

``files``     the calls: open, read, release
``opening``   the five ways to open a file, and which one is taken (PURE)
``evidence``  what is known of a file before the server is asked
``handle``    what is open, by number and by inode
``holding``   what stays open is held open on the server
``closings``  what the kernel has closed, until all that takes is done
"""
