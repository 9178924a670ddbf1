"""What a client may send."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In bytes, pixels and seconds; `prompt` in characters, `controls` in networks at a time.
    `decode_seconds` of a core and `decode_bytes` of address space are what reading one picture may
    take. A live session sends frames of `frame_bytes` at most, and ends when nothing came for so
    long. `steps` and `n` hold for the engines here: another server has its own."""

    image_bytes: int = 10_000_000
    image_pixels: int = 16_000_000
    image_side: int = 1024
    decode_seconds: float = 10.0
    decode_bytes: int = 1_200_000_000
    small_body: int = 64 * 1024
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    bodies_at_once: int = 256_000_000
    head_bytes: int = 16 * 1024
    write_seconds: float = 30.0
    client_connections: int = 64
    client_jobs: int = 8
    fetch_seconds: float = 10.0
    prompt: int = 10_000
    frame_bytes: int = 4_000_000
    live_steps: int = 16
    live_idle_seconds: float = 60.0
    steps: int = 150
    n: int = 10
    references: int = 4
    controls: int = 3

    @property
    def upload_body(self) -> int:
        """A multipart body around one image."""
        return self.image_bytes + self.small_body

    @property
    def edit_body(self) -> int:
        """A multipart body around an image and its mask."""
        return 2 * self.image_bytes + self.small_body

    @property
    def job_body(self) -> int:
        """A JSON body around an image, its mask and control networks' pictures, in base64."""
        return (2 + self.controls) * (self.image_bytes * 4 // 3) + self.small_body
