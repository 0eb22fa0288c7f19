"""The peers' processes and what is read from them, with programs that only pretend to be llama.cpp's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from bench import cli
from bench.cli import BenchError
from bench.engine.llama_server import LlamaServer
from bench.engine.peers import Decoding, Peak, bare_loop, bare_passes, batched_bench, clean_environment
from bench.engine.sides import Answer
from bench.ratios import Limits
from engine import ChatMessage

ROOT = Path(__file__).parents[3]
TINY = Decoding(sessions=1, prompt_tokens=1, gen_tokens=1, context=512)
TUNING = (
    "GOMP_SPINCOUNT",
    "GOMP_CPU_AFFINITY",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "KMP_BLOCKTIME",
    "GGML_CUDA_FORCE_MMQ",
    "LLAMA_ARG_THREADS",
    "CUDA_LAUNCH_BLOCKING",
)
KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "LLAMA_CPP_LIB_PATH")
TELLS_ITS_ENVIRONMENT = """
import json, os, pathlib
pathlib.Path(__file__).with_name("environment").write_text(json.dumps(dict(os.environ)))
print('{"speed_tg": 7, "t": 2}')
"""


def setup_of(peers: Path, model: Path = Path("any.gguf")) -> cli.Setup:
    return cli.Setup(model=model, peers=peers, limits=Limits(1), threads=1, gpu_layers=0)


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with every variable of both kinds."""
    for name in (*TUNING, *KEPT):
        monkeypatch.setenv(name, os.environ.get(name, "1"))


async def ask_batched_bench(peers: Path) -> None:
    tool(peers, "llama-batched-bench", TELLS_ITS_ENVIRONMENT)
    assert await batched_bench(setup_of(peers), TINY, unified=True) == Peak(decode=7, seconds=2)


async def ask_llama_server(peers: Path) -> None:
    tool(peers, "llama-server", TELLS_ITS_ENVIRONMENT + "raise SystemExit(1)")
    with pytest.raises(BenchError, match="exit 1"):
        async with LlamaServer(setup_of(peers), slots=1, context=512):
            pass


@pytest.mark.usefixtures("tuned")
@pytest.mark.parametrize("ask", [ask_batched_bench, ask_llama_server])
async def test_a_peer_runs_without_our_tuning(ask: Callable[[Path], Awaitable[None]], tmp_path: Path) -> None:
    await ask(tmp_path)
    environment = json.loads((tmp_path / "environment").read_text())
    assert set(KEPT) <= set(environment)
    assert not set(TUNING) & set(environment)


@pytest.mark.usefixtures("tuned")
def test_only_what_tunes_is_removed() -> None:
    removed = os.environ.keys() - clean_environment(os.environ).keys()
    assert set(TUNING) <= removed
    assert all(name.startswith(("GOMP_", "OMP_", "KMP_", "GGML_", "LLAMA_", "CUDA_")) for name in removed)


async def test_the_bare_loop_decodes_and_times_a_pass(
    random_model: Callable[[str], Path], tmp_path: Path
) -> None:
    setup = setup_of(tmp_path, random_model("tiny"))
    shape = Decoding(sessions=3, prompt_tokens=5, gen_tokens=4, context=1536)
    for unified in (True, False):
        step = await bare_loop(setup, shape, unified=unified)
        assert step.tps > 0
        assert 0 < step.sample_ms < step.step_ms
        assert step.forward_ms + step.sample_ms <= step.step_ms + 0.01
    passes = await bare_passes(setup, cached=20, rows=[9, 1], context=512)
    assert len(passes) == 2
    assert min(passes) > 0


async def test_a_bare_loop_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"bare failed \(exit 1\): .*llama.cpp cannot load"):
        await bare_loop(setup_of(tmp_path), TINY, unified=True)


async def test_a_server_that_dies_is_quoted(tmp_path: Path) -> None:
    tool(tmp_path, "llama-server", "import sys; sys.exit('first\\nthe reason why')")
    with pytest.raises(BenchError, match=r"exit 1\): first \| the reason why"):
        async with LlamaServer(setup_of(tmp_path), slots=1, context=512):
            pass


FAKE_SERVER = """
import http.server, json, os, pathlib, sys

pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
port = int(sys.argv[sys.argv.index("--port") + 1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, parts):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\\r\\n\\r\\n")
        self.close_connection = True

    def do_GET(self):
        self.reply([b'{"status":"ok"}'])

    def do_POST(self):
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "messages" in wish:
            return self.reply([json.dumps({"prompt": "rendered"}).encode()])
        event = 'data: {"tokens_predicted": %d, "tokens_evaluated": 7, "content": "so "}\\n\\n'
        whole = "".join(event % count for count in (1, 2, 4, 4)).encode()
        self.reply([b":\\n\\n" + whole[:10], whole[10:90], whole[90:]])


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


async def read(server: LlamaServer, tokens: int) -> Answer:
    answer = Answer()
    await server.ask(await server.prepare([ChatMessage("user", "hi")]), tokens, answer)
    return answer


async def test_a_servers_answer_is_counted_by_its_events(tmp_path: Path) -> None:
    tool(tmp_path, "llama-server", FAKE_SERVER)
    async with LlamaServer(setup_of(tmp_path), slots=1, context=512) as peer:
        answer = await read(peer, 4)
        assert [count for _, count in answer.marks] == [1, 1, 2]
        assert answer.prompt_tokens == 7
        assert answer.text == "so so so so "
        assert answer.ttft_s > 0
        with pytest.raises(BenchError, match="4 tokens instead of 9"):
            await read(peer, 9)
    assert not alive(int((tmp_path / "pid").read_text()))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_a_benchmark_stops_its_peer(number: int, code: int, tmp_path: Path) -> None:
    tool(tmp_path, "llama-batched-bench", NOTED_SLEEP)
    script = "import sys; from bench_tests.engine.test_peers import stop_me; stop_me(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environment)
    pid = tmp_path / "pid"
    while not pid.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    assert not alive(int(pid.read_text()))


NOTED_SLEEP = """
import os, pathlib, time
pid = pathlib.Path(__file__).with_name("pid")
pid.with_name("part").write_text(str(os.getpid()))
pid.with_name("part").rename(pid)
time.sleep(60)
"""


def stop_me(peers: str) -> None:
    """Wait for a peer that never ends, as a benchmark does."""

    async def measure(setup: cli.Setup) -> cli.Result:
        return {"speed": (await batched_bench(setup, TINY, unified=True)).decode}

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    arguments: Sequence[str] = ["--peers", peers, "--model", __file__]
    cli.run(cli.parser("x").parse_args(arguments), measure, lambda result: [str(result)])
