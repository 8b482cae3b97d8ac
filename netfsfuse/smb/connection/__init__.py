"""One TCP connection with a session and a tree, on the trio loop. Imports ``wire``.

::

    handshake_result  what a handshake ends in: socket, keys, limits
    transport         exchanges, what no caller waits for any more, the end
    pending           requests that are not answered, and what they hold meanwhile
    exchange          requests, replies, and what waits for them
    send              requests to messages: headers, compounds, signatures
    outbox            messages to the socket, small ones before WRITEs that wait
    apart             a compound sent as single requests, and how to undo a CREATE
    intake            bytes from the socket, in few system calls
    landing           where in a reader's buffer a reply is received, one at a time
    receive           replies to their buffers, verified or decrypted there
    proving           verifying or decrypting what has landed, here or in a thread
    crypto            PURE: signing and encryption
    credits           PURE: the window of credits and MessageIds
    credit_gate       waiting for credits, demand before readahead
    liveness          PURE: whether the server lives, from what was sent and what came
    lookout           looks at a connection now and then, and does what that says
    accounting        what the connection adds to the mount's figures
    clock             the server's clock against ours
"""
