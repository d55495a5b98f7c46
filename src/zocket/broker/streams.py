"""The two streams of the transport, as whichever process boots first creates them (spec: streams); the dead letters.

Rules: gateway and runtime take these same records; an existing stream is left as it is.
"""

from __future__ import annotations

from zocket.broker.port import StreamSpec
from zocket.protocol import subjects


def inbound_stream(storage: str = "memory", partitions: int = 1, replicas: int = 1) -> StreamSpec:
    """`INBOUND`: each request is there until the one runtime that serves it has acknowledged it."""
    return StreamSpec(
        name=subjects.INBOUND_STREAM,
        subjects=(subjects.INBOUND_SUBJECTS,),
        retention="workqueue",
        max_age_s=subjects.INBOUND_MAX_AGE_S,
        storage=storage,
        partitions=partitions,
        replicas=replicas,
    )


def outbound_stream(storage: str = "memory", replicas: int = 1) -> StreamSpec:
    """`OUTBOUND`: frames for single sessions, for gateways that read them from a stream."""
    return StreamSpec(
        name=subjects.OUTBOUND_STREAM,
        subjects=(subjects.OUTBOUND_SUBJECTS,),
        retention="limits",
        max_age_s=subjects.OUTBOUND_MAX_AGE_S,
        storage=storage,
        replicas=replicas,
    )


def transport_streams(storage: str = "memory", partitions: int = 1, replicas: int = 1) -> tuple[StreamSpec, StreamSpec]:
    """Both, to be ensured at boot and after every reconnect."""
    return inbound_stream(storage, partitions, replicas), outbound_stream(storage, replicas)


def dead_letter_stream(replicas: int = 1) -> StreamSpec:
    """`DEADLETTER`: messages that were given up, for people to look at; made for the first one."""
    return StreamSpec(
        name=subjects.DEAD_LETTER_STREAM,
        subjects=(subjects.DEAD_LETTER_SUBJECTS,),
        retention="limits",
        max_age_s=subjects.DEAD_LETTER_MAX_AGE_S,
        storage="file",
        replicas=replicas,
    )
