"""Objects that are answered and never stored: how a review or a token request is read and written."""

from typing import Any

import msgspec

from localkube.apiserver import bodies, defaults, protobuf
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.incoming import decode
from localkube.apiserver.requests import User, write_options
from localkube.apiserver.resources import Resource
from localkube.apiserver.responses import Response

Object = dict[str, Any]


async def read(x: Exchange, resource: Resource) -> Object:
    """The object of a POST, decoded and defaulted. Raises StatusError for what cannot be read."""
    options = write_options(x.query, "CreateOptions")
    _ = x.representation
    raw, content_type = await x.body(), x.header("content-type")
    if bodies.media_type(content_type) == protobuf.MEDIA:
        body = protobuf.decode(raw, resource.kind)
    else:
        body = bodies.decode(raw, content_type, resource.kind)
    found = decode(resource, body, options.validation, x.warn)
    defaults.apply(resource, found)
    return found


async def answer(x: Exchange, obj: Object) -> Response:
    """The object with what was found out, as 201."""
    return await x.objects(msgspec.json.encode(obj), 201)


def user_info(user: User) -> Object:
    """A user as UserInfo; what is empty is left out."""
    found: Object = {}
    if user.name:
        found["username"] = user.name
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in sorted(user.extra.items())}
    return found
