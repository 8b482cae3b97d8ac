"""Names and attributes. Imports ``coherency`` and ``inodes`` of vfs.

``names``: from names to inodes, and what the server's answers do to those. ``lookups``: of names,
by what is listed, the server, or memory. ``attributes``: those of
an inode, asked for where they are not believed. ``listings``: open directories, and the listings
that are kept. ``relisting``: a listing in place of many questions. ``former_names``: names that an
inode has left. ``links``: which files are symlinks. ``aliases``: directories with several names.
``mutations``: names made, removed and renamed here, attributes set by path. ``own_changes``: what
our own changes make of what is known. ``recent``: those made a moment ago, for older listings.
``space``: of the server's volume.
"""
