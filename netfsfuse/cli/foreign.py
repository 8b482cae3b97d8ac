"""Option names that fstab, mount(8) and mount.cifs know and that need nothing of us. Pure data.

Four kinds: accepted because they ask for what happens anyway or mean nothing to a helper;
accepted with a notice because they only tune what we do not tune yet; refused because they would
change what a user sees and are not written yet; refused for good, with the reason.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FSTAB = _words(
    "relatime norelatime strictatime nostrictatime lazytime nolazytime "
    "defaults auto noauto nofail _netdev user users nouser nousers owner noowner group nogroup "
    "dirsync silent loud mand nomand iversion noiversion"
)
"""Words for mount(8) and the kernel. A name is on the server before the call that changed it
returns (dirsync); the kernel moves no access times of a FUSE mount by itself."""

FSTAB_PREFIXES = ("x-", "X-", "comment=", "uhelper=", "helper=")

ALREADY_SO = _words(
    "serverino mapposix soft nobrl nounix noposix nolinux nodfs noacl nocifsacl "
    "nouser_xattr noidsfromsid nomodefromsid nosetuids nosfu nomultichannel "
    "noresilienthandles nopersistenthandles nohandlecache nosharesock noposixpaths "
    "forceuid forcegid noforceuid noforcegid nodelete nointr "
    "nodynperm nowitness nocompress norootfs noremap nomultiuser"
)
"""mount.cifs's names for what we do in any case."""

NOT_TUNED_YET = _words(
    "bsize esize min_enc_offload handletimeout "
    "max_cached_dirs handlecache noblocksend noautotune tcpnodelay nosparse rwpidforward intr "
    "netbiosname servern"
)
"""Tuning without influence on what is read: accepted with a notice."""

NOT_YET = _words(
    "cruid srcaddr multichannel domainauto snapshot multiuser "
    "cifsacl idsfromsid modefromsid acl posix unix linux posixpaths mapchars nomapchars nocase "
    "ignorecase sfu reparse symlink user_xattr dynperm hard resilienthandles persistenthandles "
    "witness rdma compress backupuid backupgid forcemandatorylock locallease noserverino setuids "
    "upcall_target rootfs prefixpath context fscontext defcontext rootcontext nosymfollow "
    "nonegativetimeout remount"
)
"""They change what is shown or how the server is spoken to: better no mount than a wrong one."""
