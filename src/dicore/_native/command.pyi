from collections.abc import Sequence

from typing_extensions import Buffer

class Command:
    field: int
    data_set_type: int
    message_id: int | None
    responded_to: int | None
    priority: int | None
    status: int | None
    error_id: int | None
    event_type: int | None
    action_type: int | None
    remaining: int | None
    completed: int | None
    failed: int | None
    warning: int | None
    originator_id: int | None
    affected_class: str | None
    requested_class: str | None
    move_destination: str | None
    error_comment: str | None
    affected_instance: str | None
    requested_instance: str | None
    originator: str | None
    def __init__(
        self,
        field: int,
        *,
        message_id: int | None = None,
        responded_to: int | None = None,
        priority: int | None = None,
        data_set_type: int = 0x0101,
        status: int | None = None,
        error_id: int | None = None,
        event_type: int | None = None,
        action_type: int | None = None,
        remaining: int | None = None,
        completed: int | None = None,
        failed: int | None = None,
        warning: int | None = None,
        originator_id: int | None = None,
        affected_class: str | None = None,
        requested_class: str | None = None,
        move_destination: str | None = None,
        error_comment: str | None = None,
        affected_instance: str | None = None,
        requested_instance: str | None = None,
        originator: str | None = None,
        offending: Sequence[int] | None = None,
        attributes: Sequence[int] | None = None,
    ) -> None: ...
    @property
    def offending(self) -> tuple[int, ...] | None: ...
    @offending.setter
    def offending(self, tags: Sequence[int] | None) -> None: ...
    @property
    def attributes(self) -> tuple[int, ...] | None: ...
    @attributes.setter
    def attributes(self, tags: Sequence[int] | None) -> None: ...
    @property
    def is_response(self) -> bool: ...
    @property
    def has_data(self) -> bool: ...
    @property
    def sop_class(self) -> str: ...
    @property
    def sop_instance(self) -> str: ...
    @staticmethod
    def parse(data: Buffer) -> Command: ...
    def build(self) -> bytes: ...
    def __eq__(self, other: object) -> bool: ...
