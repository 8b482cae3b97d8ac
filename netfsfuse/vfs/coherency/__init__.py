"""What may be believed. Imports ``inodes`` and ``ops`` of vfs.

``trust``: whether something may be answered without the server, and why (pure). ``listed_names``:
the same of a directory's names (pure). ``reason``: the reasons. ``judge``: where the others ask,
counted and logged. ``watches``: which directories the server tells us of. ``echoes``: what
they tell of our own changes (pure). ``opened``: which files were opened, and as what (pure).
``stand_in``: what is remembered, for a server that is away.
"""
