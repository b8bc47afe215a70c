"""The closed lists of the field, named once. Pure.

Sources: portals.md §1.4, §1.6 (codes of the national protocol), indicators.md §1 (groups), architecture.md §4.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum


class Portal(StrEnum):
    """Where a copy of a dossier comes from."""

    PROVINCIAL = "provincial"  # what the provincial one-stop system (iGate) holds
    SENT = "sent"  # what the province told the nation, in the national protocol
    NATIONAL = "national"  # what the national portal shows


class DossierStatus(IntEnum):
    """TrangThaiHoSo of the national protocol (portals.md §1.6)."""

    REGISTERED = 1
    RECEIVED = 2
    NOT_RECEIVED = 3
    IN_PROGRESS = 4
    SUPPLEMENT_REQUESTED = 5
    PAYMENT_REQUESTED = 6
    WITHDRAWN = 7
    STOPPED = 8
    DONE = 9
    RETURNED = 10


TERMINAL = frozenset(
    {
        DossierStatus.DONE,
        DossierStatus.RETURNED,
        DossierStatus.STOPPED,
        DossierStatus.NOT_RECEIVED,
        DossierStatus.WITHDRAWN,
    }
)
"""States that end a dossier (indicators.md §3, general rule)."""

STATUS_NAMES: dict[DossierStatus, str] = {
    DossierStatus.REGISTERED: "Mới đăng ký",
    DossierStatus.RECEIVED: "Được tiếp nhận",
    DossierStatus.NOT_RECEIVED: "Không được tiếp nhận",
    DossierStatus.IN_PROGRESS: "Đang xử lý",
    DossierStatus.SUPPLEMENT_REQUESTED: "Yêu cầu bổ sung giấy tờ",
    DossierStatus.PAYMENT_REQUESTED: "Yêu cầu thực hiện nghĩa vụ tài chính",
    DossierStatus.WITHDRAWN: "Công dân yêu cầu rút",
    DossierStatus.STOPPED: "Dừng xử lý",
    DossierStatus.DONE: "Đã xử lý xong",
    DossierStatus.RETURNED: "Đã trả kết quả",
}


class Known(IntFlag):
    """The fields that a copy is able to tell. A field that is known may still be empty; one that is not known
    is never compared (architecture.md §4)."""

    PROCEDURE = 1
    UNIT = 2
    STATUS = 4
    SUBMITTED_AT = 8
    RECEIVED_AT = 16
    DUE_AT = 32
    FINISHED_AT = 64
    RETURNED_AT = 128
    REJECTED_AT = 256
    CHANNEL = 512
    SUPPLEMENTS = 1024
    OFFICER = 2048
    OFFICER_TITLE = 4096


class Fact(IntFlag):
    """What a copy says of papers, results, payment and identity, beyond its head (portals.md §1.4): dossier.facts holds
    those that are true, dossier.facts_known those that the copy is able to tell. Links and files come down to these."""

    RESULT_LINK = 1  # a result file: DanhSachGiayToKetQua with a link
    RESULT_CODED = 2  # … that also has its code (MaGiayToKetQua): an electronic result (3.3)
    COMPONENT_FILE = 4  # a file among the submitted components (4.2)
    DIGITISED = 8  # HoSoCoThanhPhanSoHoa or a component's DuocSoHoa (4.3)
    REUSED = 16  # a component's DuocTaiSuDung 1 or 2 (4.3)
    FROM_STORE = 32  # a component's DuocLayTuKhoDMQG (4.4, 4.5)
    VNEID = 64  # TaiKhoanDuocXacThucVoiVNeID (4.5)
    POPULATION_DB = 128  # DSKetNoiCSDL names the population database (4.5)
    PAID_ONLINE = 256  # DuocThanhToanTrucTuyen 1 or 2 (3.6)
    PAID_OTHERWISE = 512  # DuocThanhToanTrucTuyen 3
    FEE = 1024  # DanhSachLePhi with a price other than 0
    FEE_FREE = 2048  # DanhSachLePhi in which every price is 0 (3.6)
    RESULT_IS_SUBMITTED = 4096  # a result's link equals that of a submitted file (portals.md §1.9 row 8)


class ProcedureFact(IntFlag):
    """What the national record of a procedure says, as the components ask it (indicators.md §3): procedure.facts."""

    ONLINE_SERVICE = 1  # the nation lists an online service for it (LayDVC)
    ONLINE_FULL = 2  # … full (toàn trình), where that is told
    ONLINE_CHANNEL = 4  # CACHTHUCTHUCHIEN with KENH 2
    FEE = 8  # a price other than nothing
    RESULT = 16  # it gives a result paper (KETQUATHUCHIEN)
    PEOPLE = 32  # its subjects are people (DOITUONGTHUCHIEN)
    COMPLETE = 64  # every part that can be checked is there (1.3)


class Given(IntFlag):
    """Which fields a published figure had: a field that is given may be null, one that is not was not published
    (reporting-api.md §9)."""

    NUMERATOR = 1
    DENOMINATOR = 2
    RATIO = 4
    SCORE = 8
    MAX = 16


class Channel(IntEnum):
    """KenhThucHien: how a dossier was submitted."""

    IN_PERSON = 1
    ONLINE = 2
    POST = 3


class PetitionKind(StrEnum):
    """What a petition (PAKN) is about (indicators.md §2, 5.1)."""

    PROCEDURE = "tthc"
    STAFF = "staff"
    OTHER = "other"


class ReportSource(StrEnum):
    """Where a number of the national reporting system (BCQG) was read."""

    SCREEN = "screen"
    FILE = "file"  # one that it exported
    LETTER = "letter"


class UnitLevel(StrEnum):
    """What a unit is; also the level at which a procedure is carried out."""

    MINISTRY = "ministry"
    PROVINCE = "province"
    DEPARTMENT = "department"
    DISTRICT = "district"
    COMMUNE = "commune"


class UnitVia(StrEnum):
    """By which way a dossier's unit was found, in order of trust."""

    AGENCY_CODE = "agency_code"
    ALIAS = "alias"
    DOSSIER_CODE = "dossier_code"
    NONE = "none"


class Mark(StrEnum):
    """How far a fact can be trusted; shown wherever the fact is."""

    READ = "read"  # read in the law or an official source
    PRACTICE = "practice"  # the portal's practice, checked on published figures
    NOT_VERIFIED = "not_verified"


class DurationUnit(StrEnum):
    """Units of a procedure's duration, as the national database writes them."""

    HOUR = "Giờ"
    DAY = "Ngày"
    WORKING_DAY = "Ngày làm việc"
    MONTH = "Tháng"


class IndicatorGroup(StrEnum):
    """Slugs of the six groups of the portal (indicators.md §1)."""

    TRANSPARENCY = "transparency"
    PROGRESS = "progress"
    ONLINE_SERVICE = "online-service"
    ONLINE_PAYMENT = "online-payment"
    DIGITISATION = "digitisation"
    SATISFACTION = "satisfaction"


class Basis(StrEnum):
    """From which copies a figure is counted."""

    COUNTED = "counted"  # as the nation counts: national, else sent
    PROVINCIAL = "provincial"  # as the province's own system would count


BOTH = "both"
"""In assessment_period and tally: of both bases, for which a dossier counts alike. No reader of ours is told it."""


class Consumer(StrEnum):
    """Who reads the change queue."""

    RECONCILE = "reconcile"
    INDICATORS = "indicators"
    LOOKUPS = "lookups"  # ingest's own: codes that it has to ask the national portal about


class Role(StrEnum):
    """What a key may do (api.md, Access)."""

    ADMIN = "admin"
    CENTRE = "centre"
    UNIT = "unit"
    INTEGRATOR = "integrator"
    READER = "reader"


class FindingState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"


class Subject(StrEnum):
    """What a finding or a sync run is about."""

    DOSSIERS = "dossiers"
    PROCEDURES = "procedures"
    UNITS = "units"
    LOOKUPS = "lookups"  # of a sync run only: dossiers asked for one by one
    CAPTURES = "captures"  # of a sync run only: the figures that the nation publishes
