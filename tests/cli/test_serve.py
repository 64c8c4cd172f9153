"""``backcast serve`` as a user runs it: a process, and OpenAI's own client over HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import openai
import pytest

ASK = [{"role": "user", "content": "What is 12 + 30?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}


@contextmanager
def serving(*words):
    """A running ``backcast serve``; (its process, the address it printed)."""
    command = [sys.executable, "-m", "backcast", "serve", *map(str, words), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"serves '\S+' at (\S+);", line):
                break
        else:
            raise AssertionError("".join(said))
        try:
            yield process, found[1]
        finally:
            process.kill()


def client(url):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def gone(url, seconds=20.0):
    """Whether nobody answers at ``url`` any more, after at most some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            httpx.get(url.removesuffix("/v1") + "/health", timeout=2)
        except httpx.HTTPError:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def packed(tiny_llama, tmp_path_factory):
    """The tiny model at three bits."""
    from backcast.compress.stream import Job, pack_model
    from backcast.compress.wgm import preset

    job = Job(tiny_llama, tmp_path_factory.mktemp("packed") / "three-bits", preset("ours", 3))
    pack_model(job)
    return job.out


def test_a_packed_folder_answers_openais_client(packed):
    """Chat, streaming and tools; the greedy answer is that of the folder loaded here; SIGTERM ends it with code 0."""
    import backcast.compress  # noqa: F401
    from backcast.lm.base import Prompt, Sampling
    from backcast.lm.local import LocalLM

    greedy = {"model": "three-bits", "messages": ASK, "max_tokens": 8, "temperature": 0.0}
    expected = LocalLM(packed).sample([Prompt((("user", ASK[0]["content"]),))], 1, Sampling(0.0, max_tokens=8))[0][0]
    with serving(packed) as (process, url):
        ai = client(url)
        assert [model.id for model in ai.models.list().data] == ["three-bits"]
        whole = ai.chat.completions.create(**greedy)
        assert whole.choices[0].message.content.strip() == expected.text.strip()
        assert whole.usage.completion_tokens == 8
        chunks = list(ai.chat.completions.create(**greedy, stream=True))
        parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert len(parts) > 2
        assert "".join(parts).strip() == expected.text.strip()
        with_tools = ai.chat.completions.create(**greedy, tools=[WEATHER])
        assert with_tools.usage.prompt_tokens >= whole.usage.prompt_tokens
        with pytest.raises(openai.BadRequestError):
            ai.chat.completions.create(**{**greedy, "model": "another"})
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out)["engine"] == "transformers"
    assert gone(url)


def test_the_engine_ends_when_its_starter_is_killed(packed):
    """``kill -9`` of the command leaves no server behind."""
    with serving(packed) as (process, url):
        process.kill()
        process.wait()
        assert gone(url)


def test_a_gguf_export_is_served_by_llama_cpp_and_judged(tiny_llama, tmp_path):
    """Folder to GGUF to llama.cpp's server; our own client samples from it."""
    from backcast.compress.export import Wish, export
    from backcast.lm.base import Prompt, Sampling
    from backcast.lm.models import load

    export(Wish(tiny_llama, tmp_path / "tiny.gguf", "gguf", "f32"))
    with serving(tmp_path / "tiny.gguf") as (_, url):
        assert [model.id for model in client(url).models.list().data] == ["tiny"]
        lm = load(f"{url}#tiny")
        found = lm.sample([Prompt((("user", "Hello"),))], 2, Sampling(1.0, max_tokens=4))
        assert len(found[0]) == 2
        lm.close()


def test_check_starts_asks_and_stops(tiny_llama):
    """``--check`` leaves with code 0 and what the model said; nothing runs afterwards."""
    command = [sys.executable, "-m", "backcast", "serve", str(tiny_llama), "--check", "--port", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert isinstance(result["answer"], str)
    assert gone(result["url"], 0.5)


def test_what_goes_wrong_is_one_line(tiny_llama, tmp_path, capsys):
    """A taken port, a broken folder (the engine's last words and its log): one line, exit codes 2 and 1."""
    from backcast import cli

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert cli.main(["serve", str(tiny_llama), "--port", str(taken.getsockname()[1])]) == 2
    line = capsys.readouterr().err.strip()
    assert re.fullmatch(r"backcast: cannot listen on 127\.0\.0\.1:\d+: .*; choose another --port or --host", line)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_llama.iterdir():
        os.link(file, broken / file.name) if file.suffix != ".safetensors" else None
    (broken / "model.safetensors").write_bytes(b"\xff" * 64)
    assert cli.main(["serve", str(broken), "--port", "0"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match(r"backcast: transformers ended while loading: .* \(log: \S+\)$", last)
