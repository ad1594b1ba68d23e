"""`tickpath run` over TLS: which of its threads OpenSSL's handshakes run on, asked of OpenSSL.

A library that is loaded before libssl notes the thread of every step of a client's handshake.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.loop.handshakes import THREAD_NAME
from tickpath.engine.supervisor.feed_handler_watch import HOT_THREAD_NAME

from tests.unit.test_run_reconnect import CONFIG, Child, count, free_port, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["start"]  # fixture

NOTER = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

int SSL_is_server(const void *ssl);

int SSL_do_handshake(void *ssl)
{
    static int (*real)(void *);
    char name[16] = "", line[64];
    if (real == NULL)
        real = (int (*)(void *))dlsym(RTLD_NEXT, "SSL_do_handshake");
    if (!SSL_is_server(ssl)) {
        prctl(PR_GET_NAME, name);
        snprintf(line, sizeof line, "%s\n", name);
        FILE *file = fopen(getenv("NOTED_HANDSHAKES"), "a"); /* one short write: whole */
        fputs(line, file);
        fclose(file);
    }
    return real(ssl);
}
"""


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have every child note its handshakes; return the file of thread names."""
    source, library, file = tmp_path / "noter.c", tmp_path / "noter.so", tmp_path / "noted"
    source.write_text(NOTER, encoding="ascii")
    words = ["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run([*words, "-ldl", "-lssl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("NOTED_HANDSHAKES", str(file))
    return file


def test_run_does_no_handshake_on_its_hot_thread(
    noted: Path, tmp_path: Path, start: Callable[..., Child]
) -> None:
    port, instance = free_port(), f"hand{os.getpid():07d}"
    path = tmp_path / "run.toml"
    ca = f'ca_file = "{tmp_path}/ca/ca.pem"'
    path.write_text(CONFIG.format(instance=instance, port=port, tls="true", ca=ca))
    sim = ["sim", "mexc", "--listen", f"127.0.0.1:{port}", "--make-ca", str(tmp_path / "ca")]
    start(*sim).wait_for("listening", lambda lines: count("listening")(lines) == 1)
    runs = start("run", str(path))
    runs.wait_for("open", lambda lines: count(": open to")(lines) == 1)
    found = Counter(noted.read_text(encoding="ascii").splitlines())
    assert found[THREAD_NAME] > 0, found
    assert found[HOT_THREAD_NAME] == 0, found
