"""The login to one share and its connections. Imports ``connection`` and ``wire``.

::

    session              the connection that is live now; makes it again when it was lost
    replay               sends once more what reads, when a connection was lost; nothing else
    lifecycle            PURE: when a connection is made, and what is told meanwhile: a table
    connector            one task that dials, which all requests wait for
    race                 several addresses tried side by side; the first that answers wins
    addresses            the one that was good last, and what a name server tells
    reachability         what the layers above are told of all that
    dialler              what all connections of one mount have in common: the way to the server
    channels             further connections for reads, opened when the session's own is saturated
    saturation           PURE: when another connection is worth opening
    lease                what the server has promised not to let others do unannounced
    scarcity             what gives way when the server is short of handles
    fileids              PURE: whether the server's FileIds may be believed
    odd_names            PURE: names as the server has listed them which no name should be
    followed             which names are links that the server follows by itself

    logins               the passwords to try, read again where they come from
    bridge               smbprotocol in a thread: from a TCP connection to a connected tree
    handshake_transport  the socket that smbprotocol sees meanwhile
    negotiation          smbprotocol's negotiation, with what both sides said
    anonymous            smbprotocol's login without a user
    lockstep             requests one by one on the socket, after smbprotocol and before trio
    kerberos             PURE: what Kerberos says when it gives no ticket
    confirmation         below 3.1.1: that nothing was negotiated away in between
    keys                 smbprotocol's keys as our signers and sealers
"""
