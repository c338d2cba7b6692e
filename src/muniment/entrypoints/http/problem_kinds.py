"""The kinds of problems: what each is called, and what to do about it."""

from dataclasses import dataclass

TYPE_PATH = "/problems/"
"""Below it, every service says itself what its problems are: `type` is an address there."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem.

    Attributes:
        code: Its stable name.
        status: The HTTP status that it comes with.
        title: What it is, in one sentence that is the same for every occurrence.
        advice: What to do about it.
    """

    code: str
    status: int
    title: str
    advice: str


KINDS = {
    kind.code: kind
    for kind in (
        Kind(
            "bad-request",
            400,
            "The request makes no sense as given.",
            "Compare the request with the API's description; `detail` says what was not understood.",
        ),
        Kind(
            "invalid-fields",
            400,
            "Some fields of the request are not valid.",
            "Correct the fields that `errors` names.",
        ),
        Kind(
            "unauthenticated",
            401,
            "The API key is missing or not valid.",
            "Send a good key: `Authorization: Bearer mnk_...`. Ask an administrator for another one if yours has ended.",
        ),
        Kind(
            "forbidden",
            403,
            "This key may not do that.",
            "Use a key whose role and scopes allow it.",
        ),
        Kind(
            "not-found",
            404,
            "There is nothing by that name.",
            "Check the id. What belongs to another organisation is not told apart from what does not exist.",
        ),
        Kind(
            "method-not-allowed",
            405,
            "This resource does not have that method.",
            "Use one of the methods in `Allow`.",
        ),
        Kind(
            "not-acceptable",
            406,
            "There is no representation that the client accepts.",
            "Accept one of the types that the API's description names.",
        ),
        Kind(
            "request-timeout",
            408,
            "The request took too long to arrive.",
            "Send it again, in one go. What had arrived of a resumable upload is kept.",
        ),
        Kind(
            "conflict",
            409,
            "The state of things does not allow this now.",
            "Read the state of things, and decide again; with `Retry-After`, send the same again later.",
        ),
        Kind(
            "pending",
            409,
            "The answer is not known yet.",
            "Ask again later.",
        ),
        Kind(
            "gone",
            410,
            "It was there, and is no more.",
            "Begin anew: `detail` says with what.",
        ),
        Kind(
            "length-required",
            411,
            "The request does not say how long its body is.",
            "Send `Content-Length`.",
        ),
        Kind(
            "precondition-failed",
            412,
            "It was changed since it was read.",
            "Read it again, and decide whether the change is still wanted.",
        ),
        Kind(
            "too-large",
            413,
            "The request is larger than what is accepted.",
            "Send less at once; `detail` says how much is accepted.",
        ),
        Kind(
            "quota-exceeded",
            413,
            "There is no room left in the quota.",
            "Delete what is not needed, or ask for a larger quota.",
        ),
        Kind(
            "uri-too-long",
            414,
            "The address is longer than what is accepted.",
            "Shorten path or query; where there are many values, ask in several requests.",
        ),
        Kind(
            "unsupported-media-type",
            415,
            "The body has a type that is not understood here.",
            "Send the type that the API's description names in `Content-Type`.",
        ),
        Kind(
            "range-not-satisfiable",
            416,
            "The range lies outside of what there is.",
            "Ask for a range within the length that `Content-Range` names.",
        ),
        Kind(
            "idempotency-mismatch",
            422,
            "This Idempotency-Key came with another request before.",
            "Use a new key for a new request.",
        ),
        Kind(
            "checksum-mismatch",
            422,
            "What arrived is not what was announced.",
            "Send it again: it was changed on its way, or the digest is of something else.",
        ),
        Kind(
            "locked",
            423,
            "Another request is working on it.",
            "Wait until the other request has ended, then send it again.",
        ),
        Kind(
            "too-many-requests",
            429,
            "There were too many requests.",
            "Wait as long as `Retry-After` says.",
        ),
        Kind(
            "too-many-operations",
            429,
            "As many operations of the organisation wait or run as there may be.",
            "Wait until some have ended, or cancel some.",
        ),
        Kind(
            "headers-too-large",
            431,
            "The header fields are larger than what is accepted.",
            "Send fewer or shorter header fields.",
        ),
        Kind(
            "chunk-mismatch",
            460,
            "The chunk that arrived is not what was announced.",
            "Send the chunk again; nothing of it was kept.",
        ),
        Kind(
            "internal",
            500,
            "The service failed; this is a defect.",
            "Nothing that was acknowledged is lost. Tell whoever runs the service the `request_id`.",
        ),
        Kind(
            "damaged",
            500,
            "What is stored is damaged or missing.",
            "Tell whoever runs the service the `request_id`: it has to be repaired from a copy.",
        ),
        Kind(
            "upstream-failed",
            502,
            "A service that this one depends on failed.",
            "Try again later; `detail` says which service it was.",
        ),
        Kind(
            "unavailable",
            503,
            "The service cannot do this now.",
            "Try again after the time that `Retry-After` says, or in a moment.",
        ),
        Kind(
            "storage-full",
            507,
            "The disk of the service is full.",
            "Try again later. Nothing that was acknowledged is lost; whoever runs the service has to make room.",
        ),
    )
}
"""All kinds by code."""
