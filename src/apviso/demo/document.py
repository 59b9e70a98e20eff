"""The OpenAPI document of the bookshop's API, the same for both shops: the hardened one keeps to it, the careless one does not."""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]

# The largest number that the API takes; any wider one would be no number of this shop.
MOST_ID = 999_999
MOST_COPIES = 1_000
MOST_BOOKS = 50

_ERROR: Part = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_BOOK: Part = {
    "type": "object",
    "required": ["id", "title", "author", "price"],
    "properties": {
        "id": {"type": "integer"},
        "title": {"type": "string"},
        "author": {"type": "string"},
        "price": {"type": "number"},
    },
}
_SAID = {400: "The request is not understood", 401: "A token is needed", 404: "There is none"}


def _object(**properties: str) -> Part:
    return {"type": "object", "required": list(properties), "properties": {name: {"type": kind} for name, kind in properties.items()}}


def _list(of: Part) -> Part:
    return {"type": "array", "items": of}


def _reference(name: str) -> Part:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: Part) -> Part:
    return {"application/json": {"schema": schema}}


def _number(name: str, place: str, example: int, *, least: int, most: int, required: bool = True) -> Part:
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return {"name": name, "in": place, "required": required, "schema": schema, "example": example}


def _text(name: str, example: str, *, required: bool) -> Part:
    return {"name": name, "in": "query", "required": required, "schema": {"type": "string", "minLength": 1}, "example": example}


def _operation(name: str, summary: str, answer: Part, *parameters: Part, refusals: tuple[int, ...] = (), **more: Any) -> Part:
    responses: Part = {"200": {"description": summary, "content": _content(answer)}}
    responses |= {str(status): {"description": _SAID[status], "content": _content(_reference("Error"))} for status in refusals}
    return {"get": {"operationId": name, "summary": summary, "parameters": list(parameters), "responses": responses, **more}}


DOCUMENT: Part = {
    "openapi": "3.0.3",
    "info": {"title": "The bookshop", "version": "1.0.0"},
    # Wrong on purpose, as in many a real document: whoever scans has to go where it was sent.
    "servers": [{"url": "https://bookshop.example/v1"}],
    "paths": {
        "/api/books": _operation(
            "listBooks", "Books, by an author if one is named", _list(_reference("Book")),
            _text("author", "Adair", required=False), _number("limit", "query", 10, least=1, most=MOST_BOOKS, required=False),
            refusals=(400,),
        ),
        "/api/books/{bookId}": _operation(
            "getBook", "One book", _reference("Book"), _number("bookId", "path", 1, least=1, most=MOST_ID), refusals=(400, 404)
        ),
        "/api/stock": _operation(
            "findStock", "How many copies there are", _list(_object(title="string", copies="integer")),
            _text("title", "Night Trains", required=True), refusals=(400,),
        ),
        "/api/orders/{orderId}": _operation(
            "getOrder", "One order, for the shop's own people",
            _object(id="integer", title="string", copies="integer", address="string"),
            _number("orderId", "path", 1, least=1, most=MOST_ID), refusals=(400, 401, 404), security=[{"bearer": []}],
        ),
        "/api/postage": _operation(
            "quotePostage", "What it costs to send so many copies", _object(total="number", perCopy="number"),
            _number("copies", "query", 2, least=0, most=MOST_COPIES), refusals=(400,),
        ),
        "/api/authors": _operation("listAuthors", "Authors and how many titles they have", _list(_object(name="string", titles="integer"))),
    },
    "components": {
        "schemas": {"Book": _BOOK, "Error": _ERROR},
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
    },
}  # fmt: skip
