"""The IPFS HTTP gateway: reads only, from one block store (https://specs.ipfs.tech/http-gateways/).

`gateway` turns a request into a response without any I/O but the store's; `asgi` puts that behind limits and streams bodies;
`server` and `tunnel` are the sockets. What content may do in a browser is decided in `responses` and `pages`.
"""
