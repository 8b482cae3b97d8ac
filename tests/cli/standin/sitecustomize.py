"""Puts a stand-in for ``netfsfuse.mount`` into every Python that finds this on PYTHONPATH.

So the command and the daemon it starts are the real ones, in processes of their own, and need
neither a server nor /dev/fuse. What the stand-in does is in NETFSFUSE_STANDIN.
"""

from __future__ import annotations

import os
import sys
import types


def _run(config: object, announce: object, _hang_up: object = None) -> None:
    import standin_mount  # type: ignore[import-not-found]

    standin_mount.BEHAVIOURS[os.environ["NETFSFUSE_STANDIN"]](config, announce)


_module = types.ModuleType("netfsfuse.mount")
_module.run = _run  # type: ignore[attr-defined]
sys.modules["netfsfuse.mount"] = _module
