"""``netfsfuse demo``: a private Samba, sample data and a walk through the product.

``run`` is the walk, ``report`` what it says. It drives the real command as a user would,
and imports leaves and ``lab.server``.
"""
