"""What every server of Muniment shares: its sockets with and without TLS, its processes, and limits on each client."""
