"""What may be believed. Imports ``inodes`` and ``ops`` of vfs.

``trust``: whether something may be answered without the server, and why (pure). ``reason``: the
reasons. ``judge``: where the others ask, counted and logged. ``watches``: which directories the
server tells us of. ``opened``: which files were opened, and as what (pure).
"""
