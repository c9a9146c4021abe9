"""A proxy before the API server that writes down what came: in a thread, for servers that outlive a test."""

import asyncio
import ssl
import threading
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}


class Recorder:
    """`requests` are (method, path, headers); `kubeconfig` reaches the API server through here."""

    def __init__(self, kubeconfig: Path):
        self.requests: list[tuple[str, str, tuple[tuple[str, str], ...]]] = []
        self._document = yaml.safe_load(kubeconfig.read_text())
        self._server: str = self._document["clusters"][0]["cluster"]["server"]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self._document["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        self.kubeconfig = kubeconfig.with_name(f"{kubeconfig.name}-recorded")
        self.kubeconfig.write_text(yaml.safe_dump(self._document))

    async def _start(self) -> int:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the test's own cluster
        connector = aiohttp.TCPConnector(limit=0, ssl=context)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path, tuple(request.headers.items())))
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP]
        url = URL(self._server + request.raw_path, encoded=True)
        body = await request.read() or None
        async with self._session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            except (ConnectionError, aiohttp.ClientError):
                pass
            return response

    def stop(self) -> None:
        async def end() -> Any:
            await self._runner.cleanup()
            await self._session.close()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
