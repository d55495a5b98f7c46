"""A stand-in for a language model, for trying the example without one: `python standin.py 9000`.

It speaks the streamed part of `/v1/chat/completions`, and knows three sentences: about notes and about the time it asks
for the example's tools, to anything else it answers with the question.
"""

import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def deltas(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    last = messages[-1]
    said = next(message["content"] for message in reversed(messages) if message["role"] == "user")
    if last["role"] == "tool":
        yield from words(f"I have looked it up for you: {last['content']}.")
    elif "note" in said.lower():
        yield from words("I will write that down. ")
        yield call("keep_note", text=said)
    elif "time" in said.lower():
        yield call("tell_time", zone="Europe/Rome")
    else:
        yield from words(f"You said “{said}”. " + "That is a good point, and one can say a lot about it. " * 4)


def words(text: str) -> Iterator[dict[str, Any]]:
    return ({"content": word + " "} for word in text.split())


def call(name: str, **arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


class Endpoint(BaseHTTPRequestHandler):
    token_s = 0.05

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for delta in deltas(body["messages"]):
                time.sleep(self.token_s)
                self.event({"choices": [{"index": 0, "delta": delta}]})
            self.event(None)
        except ConnectionError:
            pass  # the answer was stopped

    def event(self, data: dict[str, Any] | None) -> None:
        """None is the end."""
        self.wfile.write(f"data: {'[DONE]' if data is None else json.dumps(data)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


def serve(port: int, endpoint: type[Endpoint] = Endpoint) -> ThreadingHTTPServer:
    return ThreadingHTTPServer(("127.0.0.1", port), endpoint)


if __name__ == "__main__":
    with serve(int(sys.argv[1]) if len(sys.argv) > 1 else 9000) as server:
        print(f"export OPENAI_BASE_URL=http://127.0.0.1:{server.server_port}/v1")
        server.serve_forever()
