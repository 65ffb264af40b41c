from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    F32: _ClassVar[DType]
    F16: _ClassVar[DType]
    BF16: _ClassVar[DType]
    I32: _ClassVar[DType]
    I16: _ClassVar[DType]
    U8: _ClassVar[DType]
    I64: _ClassVar[DType]
    I8: _ClassVar[DType]
    F64: _ClassVar[DType]
    BOOL: _ClassVar[DType]

class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODE_UNSPECIFIED: _ClassVar[Code]
    DIGEST_MISMATCH: _ClassVar[Code]
    UNKNOWN_VICTIM: _ClassVar[Code]
    BAD_SPLIT: _ClassVar[Code]
    BAD_HEADER: _ClassVar[Code]
    BAD_PIECE: _ClassVar[Code]
    TOO_LARGE: _ClassVar[Code]
    BUSY: _ClassVar[Code]
    COMPUTE: _ClassVar[Code]
    STALE_EPOCH: _ClassVar[Code]
    PROTOCOL: _ClassVar[Code]
    GOING_DOWN: _ClassVar[Code]
    BAD_LAYOUT: _ClassVar[Code]
    STATE_LOST: _ClassVar[Code]
DTYPE_UNSPECIFIED: DType
F32: DType
F16: DType
BF16: DType
I32: DType
I16: DType
U8: DType
I64: DType
I8: DType
F64: DType
BOOL: DType
CODE_UNSPECIFIED: Code
DIGEST_MISMATCH: Code
UNKNOWN_VICTIM: Code
BAD_SPLIT: Code
BAD_HEADER: Code
BAD_PIECE: Code
TOO_LARGE: Code
BUSY: Code
COMPUTE: Code
STALE_EPOCH: Code
PROTOCOL: Code
GOING_DOWN: Code
BAD_LAYOUT: Code
STATE_LOST: Code

class Envelope(_message.Message):
    __slots__ = ("piece", "transfer_id", "ack", "credit", "t_send_ns", "open", "opened", "header", "probe", "error", "close", "data")
    PIECE_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    T_SEND_NS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    piece: int
    transfer_id: int
    ack: int
    credit: int
    t_send_ns: int
    open: Open
    opened: Opened
    header: Header
    probe: Probe
    error: Error
    close: Close
    data: bytes
    def __init__(self, piece: _Optional[int] = ..., transfer_id: _Optional[int] = ..., ack: _Optional[int] = ..., credit: _Optional[int] = ..., t_send_ns: _Optional[int] = ..., open: _Optional[_Union[Open, _Mapping]] = ..., opened: _Optional[_Union[Opened, _Mapping]] = ..., header: _Optional[_Union[Header, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., close: _Optional[_Union[Close, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("protocol", "session_id", "epoch", "victim", "split", "weights_sha256", "config_sha256", "layouts", "max_transfer_bytes", "piece_bytes", "next_transfer", "credit", "incarnation", "checkpoints", "info")
    class InfoEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VICTIM_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    CONFIG_SHA256_FIELD_NUMBER: _ClassVar[int]
    LAYOUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_TRANSFER_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIECE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEXT_TRANSFER_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    session_id: bytes
    epoch: int
    victim: str
    split: str
    weights_sha256: bytes
    config_sha256: bytes
    layouts: _containers.RepeatedScalarFieldContainer[str]
    max_transfer_bytes: int
    piece_bytes: int
    next_transfer: int
    credit: int
    incarnation: int
    checkpoints: _containers.RepeatedScalarFieldContainer[int]
    info: _containers.ScalarMap[str, str]
    def __init__(self, protocol: _Optional[int] = ..., session_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., victim: _Optional[str] = ..., split: _Optional[str] = ..., weights_sha256: _Optional[bytes] = ..., config_sha256: _Optional[bytes] = ..., layouts: _Optional[_Iterable[str]] = ..., max_transfer_bytes: _Optional[int] = ..., piece_bytes: _Optional[int] = ..., next_transfer: _Optional[int] = ..., credit: _Optional[int] = ..., incarnation: _Optional[int] = ..., checkpoints: _Optional[_Iterable[int]] = ..., info: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("protocol", "session_id", "instance_id", "next_transfer", "credit", "max_transfer_bytes", "piece_bytes", "weights_sha256", "incarnation", "checkpoints", "info")
    class InfoEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_TRANSFER_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    MAX_TRANSFER_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIECE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    session_id: bytes
    instance_id: bytes
    next_transfer: int
    credit: int
    max_transfer_bytes: int
    piece_bytes: int
    weights_sha256: bytes
    incarnation: int
    checkpoints: _containers.RepeatedScalarFieldContainer[int]
    info: _containers.ScalarMap[str, str]
    def __init__(self, protocol: _Optional[int] = ..., session_id: _Optional[bytes] = ..., instance_id: _Optional[bytes] = ..., next_transfer: _Optional[int] = ..., credit: _Optional[int] = ..., max_transfer_bytes: _Optional[int] = ..., piece_bytes: _Optional[int] = ..., weights_sha256: _Optional[bytes] = ..., incarnation: _Optional[int] = ..., checkpoints: _Optional[_Iterable[int]] = ..., info: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("role", "layout", "meta", "tensors", "total_bytes", "pieces", "exchange", "turn", "part", "parts", "crc32", "reply_to", "duplicate", "t_capture_ns", "t_head_ns", "t_defend_ns", "timing")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    T_CAPTURE_NS_FIELD_NUMBER: _ClassVar[int]
    T_HEAD_NS_FIELD_NUMBER: _ClassVar[int]
    T_DEFEND_NS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    role: str
    layout: str
    meta: _containers.MessageMap[str, Value]
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    total_bytes: int
    pieces: int
    exchange: int
    turn: int
    part: int
    parts: int
    crc32: int
    reply_to: int
    duplicate: bool
    t_capture_ns: int
    t_head_ns: int
    t_defend_ns: int
    timing: Timing
    def __init__(self, role: _Optional[str] = ..., layout: _Optional[str] = ..., meta: _Optional[_Mapping[str, Value]] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., total_bytes: _Optional[int] = ..., pieces: _Optional[int] = ..., exchange: _Optional[int] = ..., turn: _Optional[int] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ..., crc32: _Optional[int] = ..., reply_to: _Optional[int] = ..., duplicate: _Optional[bool] = ..., t_capture_ns: _Optional[int] = ..., t_head_ns: _Optional[int] = ..., t_defend_ns: _Optional[int] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("t_first_piece_ns", "t_last_piece_ns", "t_decoded_ns", "t_tail_start_ns", "t_tail_end_ns")
    T_FIRST_PIECE_NS_FIELD_NUMBER: _ClassVar[int]
    T_LAST_PIECE_NS_FIELD_NUMBER: _ClassVar[int]
    T_DECODED_NS_FIELD_NUMBER: _ClassVar[int]
    T_TAIL_START_NS_FIELD_NUMBER: _ClassVar[int]
    T_TAIL_END_NS_FIELD_NUMBER: _ClassVar[int]
    t_first_piece_ns: int
    t_last_piece_ns: int
    t_decoded_ns: int
    t_tail_start_ns: int
    t_tail_end_ns: int
    def __init__(self, t_first_piece_ns: _Optional[int] = ..., t_last_piece_ns: _Optional[int] = ..., t_decoded_ns: _Optional[int] = ..., t_tail_start_ns: _Optional[int] = ..., t_tail_end_ns: _Optional[int] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "offset", "nbytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    offset: int
    nbytes: int
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., offset: _Optional[int] = ..., nbytes: _Optional[int] = ...) -> None: ...

class Ints(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, items: _Optional[_Iterable[int]] = ...) -> None: ...

class Floats(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, items: _Optional[_Iterable[float]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("flag", "integer", "number", "text", "integers", "numbers")
    FLAG_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    flag: bool
    integer: int
    number: float
    text: str
    integers: Ints
    numbers: Floats
    def __init__(self, flag: _Optional[bool] = ..., integer: _Optional[int] = ..., number: _Optional[float] = ..., text: _Optional[str] = ..., integers: _Optional[_Union[Ints, _Mapping]] = ..., numbers: _Optional[_Union[Floats, _Mapping]] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("id", "reply", "t1_ns", "t2_ns", "t3_ns", "unloaded")
    ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    T1_NS_FIELD_NUMBER: _ClassVar[int]
    T2_NS_FIELD_NUMBER: _ClassVar[int]
    T3_NS_FIELD_NUMBER: _ClassVar[int]
    UNLOADED_FIELD_NUMBER: _ClassVar[int]
    id: int
    reply: bool
    t1_ns: int
    t2_ns: int
    t3_ns: int
    unloaded: bool
    def __init__(self, id: _Optional[int] = ..., reply: _Optional[bool] = ..., t1_ns: _Optional[int] = ..., t2_ns: _Optional[int] = ..., t3_ns: _Optional[int] = ..., unloaded: _Optional[bool] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "fatal", "transfer_id", "exchange", "message", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    FATAL_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: Code
    fatal: bool
    transfer_id: int
    exchange: int
    message: str
    retry_after_ms: int
    def __init__(self, code: _Optional[_Union[Code, str]] = ..., fatal: _Optional[bool] = ..., transfer_id: _Optional[int] = ..., exchange: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ("reason", "transfers", "bytes")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    transfers: int
    bytes: int
    def __init__(self, reason: _Optional[str] = ..., transfers: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...
