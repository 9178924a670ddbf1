"""What a job may call a picture: an upload's id, a data URL, a URL on an allowed host."""

from __future__ import annotations

import base64
import binascii
import re

from overpaint.serve.http.problems import ApiError
from overpaint.serve.store.kept import GoneError, Kept, UnknownKeyError

from .fetch import FetchError, fetch
from .reader import Intake

DATA_URL = re.compile(r"data:[\w.+/-]*(;[\w.+=/-]+)*;base64,", re.ASCII)


class Sources:
    """Turns what a job calls a picture into PNG bytes."""

    def __init__(self, uploads: Kept, intake: Intake, image_hosts: tuple[str, ...]) -> None:
        self.uploads = uploads
        self.intake = intake
        self._image_hosts = image_hosts

    async def png(self, named: str, field: str) -> bytes:
        """Raises ApiError: 404 and 410 for uploads, 413, 415 and 422 for pictures."""
        if named.startswith("data:"):
            return (await self.intake.receive(decode_base64(named, field), field)).png
        if "://" in named:
            try:
                data = await fetch(named, self._image_hosts, self.intake.limits)
            except FetchError as error:
                raise ApiError(422, "invalid_image_url", str(error), field=field) from None
            return (await self.intake.receive(data, field)).png
        try:
            return self.uploads.get(named)
        except GoneError:
            message = "this upload has expired; upload the picture again"
            raise ApiError(410, "upload_gone", message, field=field) from None
        except UnknownKeyError:
            message = "expected the id of an upload, a data URL, or an https URL"
            raise ApiError(404, "upload_not_found", message, field=field) from None


def decode_base64(text: str, field: str) -> bytes:
    """The bytes of a data URL, or of plain base64."""
    if text.startswith("data:"):
        head = DATA_URL.match(text[:200])
        if head is None:
            message = "expected data:image/…;base64,… in this data URL"
            raise ApiError(422, "invalid_image", message, field=field)
        text = text[head.end() :]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(422, "invalid_image", "expected base64", field=field) from None
