"""An image that is named instead of sent: by a data URI, or by an address that is fetched safely."""

from __future__ import annotations

import base64
import binascii
import re

from cinelet.clock import SystemClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, ValidationError
from cinelet.storage.work_folder import work_folder
from cinelet.transport.addresses import ForbiddenAddressError
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.download import download

FETCH_SECONDS = 60.0
_DATA_URI = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.ASCII | re.IGNORECASE)


async def image_of(text: str, *, max_bytes: int, field: str = "image") -> bytes:
    """Return the bytes of an image that is named by a data URI or an address. field: where it is named."""
    if text.startswith("data:"):
        head = _DATA_URI.match(text)
        try:
            if head is None:
                raise ValueError
            return base64.b64decode(text[head.end() :], validate=True)
        except (ValueError, binascii.Error) as error:
            message = "The image is no data URI of a PNG, JPEG or WebP file in base64"
            raise ValidationError(message, {field: "No such data URI"}) from error
    with work_folder() as folder:
        client = make_client(timeouts=Timeouts(connect_seconds=10, read_seconds=20))
        try:
            await download(
                text,
                folder / "image",
                client=client,
                context=Context(folder, deadline_seconds=FETCH_SECONDS),
                clock=SystemClock(),
                max_bytes=max_bytes,
                what="the image",
            )
            return (folder / "image").read_bytes()
        except ForbiddenAddressError as error:
            why = "; ".join(error.details.values())
            message = (
                f"The image cannot be fetched ({why}); give a data URI, or the https address of a file of a public host"
            )
            raise ForbiddenAddressError(message, {field: why}) from error
        except ValidationError:
            raise
        except CineletError as error:
            raise ValidationError(f"The image cannot be fetched: {error}", {field: "Cannot be fetched"}) from error
        finally:
            await client.aclose()
