"""``netfsfuse demo``: a private Samba, sample data and a walk through the product.

``samba`` and ``smbd`` run a throw-away server, ``data`` generates what it serves, ``mounts`` looks
at mount points from outside and removes them, ``run`` is the walk itself. The tests use all but the
last as well. Nothing here knows the layers below: the demo drives the real command as a user would.
"""
