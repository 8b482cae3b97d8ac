"""One file each for the programs that are compared; each is driven as a user would drive it.

``ours`` and ``rclone`` mount and let ``dd``, ``cp`` and ``fio`` read from the mount point;
``smbclient`` fetches files itself. None of them knows what is measured, or why.
"""
