"""A small real HTTP server on loopback in OpenAI's chat shape whose "model" really looks at the pixels it is sent.

Asked about the dot on the red sign, it finds the red pixels of the newest image and asks for a closer look until the
sign fills a tenth of the image, then names the dot's colour. Run as ``python seeing_server.py MODE``; prints its port.
Requests that OpenAI's interface does not allow (a picture in a tool's message, an unanswered call) are refused.

Modes: ``good``; ``clumsy`` (its first box has its corners swapped); ``text`` (calls stand in the text, no ``tools``);
``broken`` (its first arguments are not JSON); ``greedy`` (asks for ever); ``two`` (two calls at once); ``blind``
(takes no pictures); ``frames`` (selects frames 2 and 3 first).
"""

import base64
import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

COLOURS = {"green": (0, 160, 0), "blue": (0, 0, 220), "black": (0, 0, 0), "white": (255, 255, 255)}


class Wrong(Exception):
    """A request that the interface does not allow."""


def look(image):
    """(box of the red sign as shares, colour of the dot) of an image, or None without a sign."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
    if red.sum() < 4:
        return None
    ys, xs = np.nonzero(red)
    x1, x2, y1, y2 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    centre = pixels[(y1 + y2) // 2, (x1 + x2) // 2]
    name = min(COLOURS, key=lambda key: np.abs(centre - COLOURS[key]).sum())
    wide, high = image.size
    return (x1 / wide, y1 / high, x2 / wide, y2 / high), name


def decode(url):
    if not url.startswith("data:image/"):
        raise Wrong("image_url must be a data URL here")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def read(messages):
    """(images in order, texts of tool messages and text feedback) after checking the order of the messages."""
    images, told, owed = [], [], set()
    for message in messages:
        role, content = message["role"], message.get("content")
        if role == "tool":
            if not isinstance(content, str):
                raise Wrong("content of a tool message must be a string")
            if message.get("tool_call_id") not in owed:
                raise Wrong("tool message answers no call")
            owed.discard(message["tool_call_id"])
            told.append(content)
            continue
        if owed:
            raise Wrong(f"calls {sorted(owed)} were not answered by tool messages")
        if role == "assistant":
            owed = {call["id"] for call in message.get("tool_calls") or ()}
            for call in message.get("tool_calls") or ():
                json.loads(call["function"]["arguments"])
        elif isinstance(content, list):
            images += [decode(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]
            told += [part["text"] for part in content if part["type"] == "text"]
        else:
            told.append(content)
    if owed:
        raise Wrong("the last calls were not answered")
    return images, told


class Model:
    def __init__(self, mode):
        self.mode, self.requests = mode, []

    def answer(self, body):
        self.requests.append(body)
        if self.mode == "blind" and any(isinstance(m["content"], list) for m in body["messages"]):
            raise Wrong("image input is not supported by this model")
        images, told = read(body["messages"])
        names = [tool["function"]["name"] for tool in body.get("tools", [])]
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        if self.mode != "text" and "zoom_in" not in names and turn == 0 and "tools" in body:
            raise Wrong("no tool zoom_in")
        if self.mode == "frames" and turn == 0:
            return [("select_frames", json.dumps({"target_frames": [2, 3]}))], "First some frames."
        if self.mode == "broken" and turn == 0:
            return [("zoom_in", '{"bbox_2d": [0.1, ')], ""
        number = next(n for n in range(len(images), 0, -1) if look(images[n - 1]))
        box, dot = look(images[number - 1])
        x1, y1, x2, y2 = box
        near_enough = (x2 - x1) * (y2 - y1) > 0.1 and self.mode != "greedy"
        if near_enough or (not names and self.mode != "text"):
            return [], f"The dot is {dot}. \\boxed{{{dot}}}"
        wide, high = x2 - x1, y2 - y1
        near = [max(0, x1 - wide / 2), max(0, y1 - high / 2), min(1, x2 + wide / 2), min(1, y2 + high / 2)]
        if self.mode == "clumsy" and not any("wrong order" in text for text in told):
            near = [near[2], near[1], near[0], near[3]]
        call = ("zoom_in", json.dumps({"bbox_2d": [round(float(n), 4) for n in near], "target_image": number}))
        return [call] * (2 if self.mode == "two" and turn == 0 else 1), "The sign is small; I look closer."


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.removeprefix("/v1")
        known = {"/models": {"data": [{"id": "seeing", "owned_by": "fixture"}]}, "/log": {"log": MODEL.requests}}
        self.send(200 if path in known else 404, known.get(path, {"error": {"message": "no such path"}}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            calls, text = MODEL.answer(body)
        except (Wrong, ValueError) as error:
            self.send(400, {"error": {"message": str(error)}})
            return
        message = {"role": "assistant", "content": text}
        if calls and MODEL.mode == "text":
            tagged = (
                f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
                for name, arguments in calls
            )
            message["content"] += "\n" + "\n".join(tagged)
        elif calls:
            message["content"] = text or None
            message["tool_calls"] = [
                {"id": f"call-{len(MODEL.requests)}-{i}", "type": "function", "function": {"name": n, "arguments": a}}
                for i, (n, a) in enumerate(calls)
            ]
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": 40 * len(body["messages"]), "completion_tokens": 12, "total_tokens": 0}
        self.send(200, {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})

    def send(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    MODEL = Model(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()
