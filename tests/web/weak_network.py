"""A TCP proxy that stands for a bad network: answers stall, connections are cut, or it is away."""

import socket
import threading

QUESTION = b"POST /v1/chat/completions"


class WeakNetwork:
    """Forwards connections to a port of this computer, which may change.

    stall_after: the number of bytes of the next answer after which no more of it is forwarded; None:
    never. It is used once. is_away: new connections are closed at once.
    """

    def __init__(self, target):
        self.target = target
        self.stall_after = None
        self.is_away = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        self.cut()

    def cut(self):
        """Closes all connections."""
        for s in list(self._open):
            self._shut(s)

    def _shut(self, s):
        self._open.discard(s)
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_away:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            link = {"answer": False, "sent": 0}
            for pump in (self._ask, self._answer):
                threading.Thread(target=pump, args=(client, server, link), daemon=True).start()

    def _ask(self, client, server, link):
        try:
            while data := client.recv(65536):
                if data.startswith(QUESTION):
                    link.update(answer=True, sent=0)
                server.sendall(data)
        except OSError:
            pass
        self._shut(client)
        self._shut(server)

    def _answer(self, client, server, link):
        try:
            while data := server.recv(65536):
                if link["answer"] and self._stalls(client, data, link):
                    break
                client.sendall(data)
        except OSError:
            pass
        self._shut(client)
        self._shut(server)

    def _stalls(self, client, data, link):
        """If the stall comes in this data, forwards what is before it, and returns at its end."""
        link["sent"] += len(data)
        if self.stall_after is None or link["sent"] < self.stall_after:
            return False
        client.sendall(data[: len(data) - (link["sent"] - self.stall_after)])
        self.stall_after = None
        try:
            while client.recv(65536):
                pass  # until the page gives up
        except OSError:
            pass
        return True
