"""GET: one object, a list of them, a watch."""

from typing import Any, NamedTuple

import msgspec

from localkube.apiserver import continuation, selectors, status, tables, watches, watchstream
from localkube.apiserver.crd.views import seen
from localkube.apiserver.exchange import Exchange, partial
from localkube.apiserver.requests import ListOptions, list_options
from localkube.apiserver.resources import Resource
from localkube.apiserver.responses import Response, Stream
from localkube.apiserver.selectors import Selector
from localkube.apiserver.status import StatusError
from localkube.apiserver.store import Expired, Store, TooLarge, Version


async def get(x: Exchange) -> Response:
    found = x.registry.read(x.resource.served_key, x.namespace, x.target.name)
    return await x.one(found.object)


async def collection(x: Exchange) -> Response | Stream:
    options = list_options(x.query)
    fields = options.fields
    if x.target.name:
        # the old way to watch one object: `GET .../pods/p?watch=1`
        fields = f"metadata.name={x.target.name}" + (f",{fields}" if fields else "")
    selector = selectors.of_resource(x.resource, options.labels, fields)
    if options.watch:
        return await _watch(x, options, selector)
    return await _list(x, options, selector)


class Page(NamedTuple):
    """One chunk of a list, all of it as of `revision`."""

    versions: list[Version]
    revision: int
    continues: str
    remaining: int | None


def page(store: Store, key: str, namespace: str | None, options: ListOptions, selector: Selector) -> Page:
    """Read a chunk. Raises StatusError 400, 410 and 504 about revisions and tokens."""
    start = ""
    at: int | None = None
    if options.continues:
        if options.revision:
            raise status.bad_request("specifying resource version is not allowed when using continue")
        token = continuation.decode(options.continues)
        start = token.start
        at = token.revision if token.revision > 0 else None
    elif options.revision:
        if options.match == "Exact" or (not options.match and options.limit):
            at = options.revision
        elif options.revision > store.revision:
            raise watches.too_large(TooLarge(options.revision, store.revision))
    try:
        versions = store.list(key, namespace, at=at)
    except TooLarge as error:
        raise watches.too_large(error) from None
    except Expired:
        raise _expired(options, start) from None
    revision = at if at is not None else store.revision
    if start:
        versions = [v for v in versions if v.key > start]
    if selector:
        versions = [v for v in versions if selector.matches(v.object)]
    if not options.limit or len(versions) <= options.limit:
        return Page(versions, revision, "", None)
    chunk = versions[: options.limit]
    continues = continuation.encode(continuation.Token(revision, chunk[-1].key))
    # how many are left is known for nothing only where no selector has to look at them
    remaining = None if selector else len(versions) - len(chunk)
    return Page(chunk, revision, continues, remaining)


def _expired(options: ListOptions, start: str) -> StatusError:
    if not options.continues:
        return status.expired("The resourceVersion for the provided list is too old.")
    error = status.expired(continuation.EXPIRED)
    error.status["metadata"] = {"continue": continuation.encode(continuation.Token(-1, start))}
    return error


async def _list(x: Exchange, options: ListOptions, selector: Selector) -> Response:
    form = x.representation.form
    found = page(x.registry.store, x.resource.key, x.target.namespace, options, selector)
    versions = found.versions
    if x.resource.custom is not None:
        versions = [seen(x.resource, version) for version in versions]
    metadata: dict[str, Any] = {"resourceVersion": str(found.revision)}
    if found.continues:
        metadata["continue"] = found.continues
    if found.remaining:
        metadata["remainingItemCount"] = found.remaining
    if not form:
        return await x.objects(encode_list(x.resource, metadata, versions))
    version = x.representation.version
    shown: dict[str, Any]
    if form == "Table":
        shown = tables.table(
            x.resource,
            [v.object for v in versions],
            metadata,
            now=x.registry.clock(),
            version=version,
            include=x.query.get("includeObject"),
        )
    else:
        shown = {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": metadata,
            "items": [partial(v.object, version) for v in versions],
        }
    return await x.objects(msgspec.json.encode(shown))


def encode_list(resource: Resource, metadata: dict[str, Any], versions: list[Version]) -> bytes:
    """A list as JSON, joined from the items' cached bytes; custom objects say their kind, as in reality."""
    head = b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[' % (
        resource.list_kind.encode(),
        resource.api_version.encode(),
        msgspec.json.encode(metadata),
    )
    items = [v.item if resource.custom is None else v.encoded for v in versions]
    return head + b",".join(items) + b"]}"


async def _watch(x: Exchange, options: ListOptions, selector: Selector) -> Stream:
    representation = x.representation
    if representation.media != "application/json":
        raise status.not_acceptable(("application/json", "application/json;stream=watch"))
    store = x.registry.store
    since = options.revision or None
    initial = since is None
    mark: Version | None = None
    if options.send_initial is not None:
        initial = options.send_initial
        if initial:
            if since is not None and since > store.revision:
                raise watches.too_large(TooLarge(since, store.revision))
            since = None
            if options.bookmarks:
                mark = watches.bookmark(x.resource, store.revision, initial_end=True)
    try:
        watch = watches.Watch(
            store,
            x.resource.key,
            x.target.namespace,
            since=since,
            initial=initial,
            selector=selector,
            bookmark=mark,
        )
    except StatusError as error:
        return Stream(watchstream.failed(error))
    chunks = watchstream.frames(
        watch,
        x.resource,
        store,
        bookmarks=options.bookmarks,
        timeout=options.timeout or None,
        render=_renderer(x) if representation.form else None,
    )
    return Stream(chunks, close=watch.close)


def _renderer(x: Exchange) -> watchstream.Render:
    first = True

    def render(type_: str, version: Version) -> dict[str, Any]:
        nonlocal first
        shown = x.transform(version)
        if shown["kind"] == "Table" and not first:
            # the columns are told once per stream
            shown["columnDefinitions"] = None
        first = False
        return shown

    return render
