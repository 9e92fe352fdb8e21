"""The bounds of an attempt. Each says what happens when it is reached."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one node's attempts may use. Sizes are bytes, durations seconds."""

    connections_max: int = 100
    """Open connections of all calls together; a call beyond it waits, within its own time."""
    connections_idle_max: int = 20
    """Connections kept for the next call; the rest are closed."""
    connect_timeout_s: float = 10.0
    """For TCP and TLS; then the step fails with `timeout` (408)."""
    call_timeout_s: float = 300.0
    """For a whole call or script of a task that names no `timeout`; then `timeout` (408)."""
    response_bytes_max: int = 10 << 20
    """Of an answer's content, decompressed; a longer one is refused (`communication`, 502)."""
    headers_bytes_max: int = 64 << 10
    """Of an answer's headers; more are refused (`communication`, 502)."""
    excerpt_chars_max: int = 1024
    """Of an answer, an exception or an error output in a problem's detail; the rest is cut."""
    document_bytes_max: int = 8 << 20
    """Of an OpenAPI document; a longer one is refused (`configuration`)."""
    document_yaml_bytes_max: int = 512 << 10
    """The same for one in YAML, which takes a hundred times as long to read as JSON."""
    documents_max: int = 64
    """OpenAPI documents kept; the one used longest ago goes."""
    document_age_s_max: float = 300.0
    """An OpenAPI document is fetched again after this."""
    threads_max: int = 32
    """Synchronous functions that run at once; one beyond it waits."""
    script_bytes_max: int = 1 << 20
    """Of a script's source; a longer one is refused (`configuration`)."""
    script_output_bytes_max: int = 1 << 20
    """Of each of stdout and stderr; a script that writes more is killed (`runtime`)."""
    script_cpu_s: int = 300
    """Processor time; beyond it the system ends the script by a signal (`runtime`)."""
    script_memory_bytes: int = 1 << 30
    """Address space of each process of a script; beyond it allocations fail."""
    script_file_bytes: int = 64 << 20
    """Of each file a script writes; beyond it the system ends it by a signal."""
    script_files_max: int = 256
    """Open files of each process of a script; beyond it opening fails."""
    script_processes_max: int = 1024
    """Processes and threads of the node's user, all together: so the system counts. Beyond it a
    script cannot fork. It does not bind the superuser."""
    script_kill_grace_s: float = 2.0
    """How long the output of a script that has ended may stay open; then it is cut off."""
