"""What is on the share. Imports all storeys below, ``session`` above all.

::

    namespace    paths -> attributes, open files, listings, watches (vfs.ops.Namespace)
    names        PURE: local names <-> names on the wire
    reparse      PURE: links in the forms that servers have for them
    lost_answers PURE: what looking says of a change whose answer was lost
    mutations    names made, removed and renamed; sizes, times and marks set
    compound     one question about a path: CREATE, what is asked, CLOSE
    openfiles    opening so that the times in the answer are those of now
    leased       handles that are kept, and shared, under leases
    file         one open file (netfs.ops.ServerFile)
    reopened     what is common to them: a handle that is opened again when it was lost
    writable     one that is open for writing (vfs.ops.WritableOpenFile)
    creation     making one, though the answer may be lost
    deferred     one that is opened only when the server is needed for it
    handle       a handle on the server, which several open files may share
    siblings     the handles of the same file on the further connections
    directory    one listing
    watch        a directory of whose changes the server tells
"""
