"""Open files. Imports ``prefetch``, ``tree`` and what they stand on.

``files``        the calls: open, read, release
``opening``      the five ways to open a file for reading, and which one is taken (PURE)
``evidence``     what is known of a file before the server is asked
``file_writes``  the calls of handles that write, and of readers of such files
``writers``      the files that are open for writing, by inode: opened, made, closed
``written``      one of them: its bytes, size and times, behind or through
``mapped``       which writes may be of mapped pages (PURE)
``handle``       what is open, by number and by inode
``opened``       what the kernel is told of an open
``holding``      what stays open is held open on the server
``closings``     what the kernel has closed, until all that takes is done
"""
