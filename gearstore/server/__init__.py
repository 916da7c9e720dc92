"""The asyncio side: sockets, connections, signals and the life of the server."""
