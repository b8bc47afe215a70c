"""A copy in the national protocol: DongBoHoSoMC and CapNhatTienDoHoSoMC items (portals.md §1.4, §1.5).

All values are strings, "" when absent. Applicants are invented, and look it.
"""

from __future__ import annotations

from services.sandbox.dossier import Copy, Dossier
from services.sandbox.workdays import wire

Item = dict[str, object]


def applicant(dossier: Dossier) -> dict[str, str]:
    """Name, identity number and so on, of nobody: no province has the number 999."""
    number = dossier.index
    business = dossier.unit.level == "2" and number % 3 == 0
    return {
        "name": f"CÔNG TY TNHH MẪU {number}" if business else f"NGUYỄN VĂN MẪU {number}",
        "identity": f"999{number:09d}",
        "phone": f"0000.{number:06d}",
        "email": f"mau{number}@example.invalid",
        "kind": "2" if business else "1",
    }


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _submitted(dossier: Dossier, number: int) -> str:
    return f"https://tep.example.invalid/t/{dossier.index}/{number}"


def head(dossier: Dossier, copy: Copy, *, with_applicant: bool) -> Item:
    """One DongBoHoSoMC item. Without the applicant: the fields about people and free text are left out."""
    procedure = copy.procedure
    papers = copy.papers
    done = copy.status in (9, 10)
    item: Item = {
        "MaHoSo": copy.code,
        "MaTTHC": procedure.code,
        "TenTTHC": procedure.name,
        "MaLinhVuc": procedure.field_code,
        "TenLinhVuc": procedure.field,
        "KenhThucHien": str(dossier.channel),
        "LoaiDoiTuong": applicant(dossier)["kind"],
        "NgayNopHoSo": wire(copy.submitted_at),
        "NgayTiepNhan": wire(copy.received_at),
        "NgayHenTra": wire(copy.due_at),
        "TrangThaiHoSo": str(copy.status),
        "NgayTra": wire(copy.returned_at),
        "HinhThuc": "1" if dossier.channel == 3 else "0",
        "NgayKetThucXuLy": wire(copy.finished_at),
        "NgayTuChoi": "",
        "DonViXuLy": copy.unit.name[:50],
        "NoiNopHoSo": "1" if dossier.channel == 2 else "2",
        "HoSoCoThanhPhanSoHoa": _flag(papers.digitised),
        "TaiKhoanDuocXacThucVoiVNeID": _flag(papers.vneid),
        "DuocThanhToanTrucTuyen": "0" if papers.free or copy.status == 6 else str(papers.paid),
        "DSKetNoiCSDL": [{"MaCSDL": "7"}] if papers.population else [],
        "TaiLieuNop": [
            {
                "TepDinhKemId": str(number + 1),
                "TenTepDinhKem": "Don de nghi.pdf",
                "IsDeleted": "False",
                "MaThanhPhanHoSo": "",
                "DuongDanTaiTepTin": _submitted(dossier, number),
                "DuocSoHoa": _flag(papers.digitised and number == 0),
                "DuocTaiSuDung": str(papers.reused) if number == 0 else "0",
                "DuocLayTuKhoDMQG": _flag(papers.from_store and number == papers.files - 1),
                "MaKetQuaThayThe": "",
            }
            for number in range(papers.files)
        ],
        "DanhSachLePhi": [],
        "DanhSachTepDinhKemKhac": [],
        "DanhSachHoSoBoSung": [
            {
                "HoSoBoSungId": str(number),
                "NguoiYeuCauBoSung": each.officer,
                "NoiDungBoSung": "Bổ sung giấy tờ còn thiếu",
                "NgayBoSung": wire(each.asked_at),
                "NguoiTiepNhanBoSung": "",
                "ThongTinTiepNhan": "",
                "NgayTiepNhanBoSung": wire(each.supplied_at),
                "TrangThaiBoSung": "0" if each.supplied_at is None else "1",
                "DanhSachGiayToBoSung": [],
                "DanhSachLePhiBoSung": [],
                "NgayHenTraTruoc": wire(each.due_before),
                "NgayHenTraMoi": wire(each.due_after),
            }
            for number, each in enumerate(copy.supplements, 1)
        ],
        "DanhSachGiayToKetQua": [],
    }
    if procedure.fee:
        item["DanhSachLePhi"] = [
            {
                "TenPhiLePhi": f"Lệ phí {procedure.name}"[:200],
                "MaPhiLePhi": "1",
                "HinhThucThu": "1",
                "Gia": "0" if papers.free else str(procedure.fee),
                "LoaiPhiLePhi": "1",
            }
        ]
    if done and papers.result:
        item["DanhSachGiayToKetQua"] = [
            {
                "TenGiayTo": "Ket qua.pdf",
                "MaThanhPhanHoSo": "",
                "GiayToId": "",
                "DuongDanTepTinKetQua": _submitted(dossier, 0)
                if papers.result == "submitted"
                else f"https://tep.example.invalid/kq/{dossier.index}",
                "MaGiayToKetQua": "" if papers.result == "link" else f"KQ.{procedure.code}",
            }
        ]
    if with_applicant:
        who = applicant(dossier)
        item |= {
            "ChuHoSo": who["name"],
            "SoGiayToChuHoSo": who["identity"],
            "DinhDanhCHS": [{"LoaiDinhDanh": "1", "SoDinhDanh": who["identity"]}],
            "MaDoiTuong": f"doi-tuong-mau-{dossier.index}",
            "ThongTinKhac": "",
            "Email": who["email"],
            "Fax": "",
            "SoDienThoai": who["phone"],
            "TrichYeuHoSo": f"{procedure.name} của {who['name']}"[:1000],
            "ThongTinTra": "",
            "GhiChu": f"Liên hệ {who['phone']}",
        }
    return item


def steps(copy: Copy, told: int = 0) -> list[Item]:
    """CapNhatTienDoHoSoMC items, without the first `told` that are known already."""
    return [
        {
            "MaHoSo": copy.code,
            "NguoiXuLy": step.officer[:50],
            "ChucDanh": step.title,
            "ThoiDiemXuLy": wire(step.at),
            "PhongBanXuLy": step.office,
            "NoiDungXuLy": step.content,
            "TrangThai": str(step.status),
            "NgayBatDau": wire(step.started_at),
            "NgayKetThucTheoQuyDinh": wire(step.due_at),
        }
        for step in copy.steps[told:]
    ]
