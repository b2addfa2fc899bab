"""The words that a data set may keep: a fixed list cannot hold a name that nobody wrote into it.

`TERMS` are defined terms and enumerated values of PS3.3 for coded strings; a value that is not among them was
made up by a device or typed by a person, and goes. The words of descriptions stay under the Clean Descriptors
option. Words that are Vietnamese given names too, such as "thang" without its mark, are
left out on purpose.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_TERMS = """
ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER OTHER NONE MIXED PROJECTION VOLUME REFORMATTED MPR MIP
SUBTRACTION RESAMPLED AVERAGE ADD RECON SOURCE FILTERED SCREEN_CAPTURE REPROCESSED PRESENTATION PROCESSING
CSA IMAGE DOSE STATIC DYNAMIC GATED WHOLE|BODY TOMO BIPLANE|A BIPLANE|B SINGLE|PLANE SINGLE|A SINGLE|B
STEREO LABEL OVERVIEW THUMBNAIL CR DX CT MR US NM PT XA RF MG SC OT SR PR KO SEG REG ES XC GM SM IO PX OP
OPT OPM BI BMD IVUS IVOCT OCT HD ECG EPS RG LS TG DOC AU RTIMAGE RTDOSE RTSTRUCT RTPLAN RTRECORD FID PLAN
RWV SRF STAIN SMR VA LEN KER CHEST THORAX LUNG ABDOMEN HEAD SKULL BRAIN NECK SPINE CSPINE TSPINE LSPINE
SSPINE CTSPINE TLSPINE LSSPINE PELVIS HIP SHOULDER ELBOW WRIST FINGER THUMB KNEE ANKLE TOE CALCANEUS FOREARM
HUMERUS FEMUR TIBFIB EXTREMITY ARM LEG HEART RIB RIBCAGE STERNUM CLAVICLE SCAPULA SACRUM COCCYX BREAST
KIDNEY LIVER PANCREAS SPLEEN BLADDER PROSTATE UTERUS AORTA CAROTID COLON STOMACH ESOPHAGUS SINUS ORBIT JAW
MANDIBLE MAXILLA NOSE ZYGOMA TMJ IAC WHOLEBODY CHESTABDPELVIS ABDPELV CHESTABDOMEN NECKCHEST TSPINE ACJOINT
SIJOINT SCJOINT PA AP LL RL LAT LATERAL RLD LLD LLO RLO RAO LAO RPO LPO OBLIQUE TANGENTIAL DECUBITUS
LORDOTIC SWIMMERS TOWNES WATERS CC MLO ML LM LMO FB SIO XCC XCCL XCCM ISO CV AT L R U B M F O A P H LEFT
RIGHT BILATERAL UNILATERAL BOTH HFP HFS HFDR HFDL FFDR FFDL FFP FFS LFP LFS RFP RFS ERECT RECUMBENT
SEMIERECT SUPINE PRONE YES NO Y N UNKNOWN NORMAL HIGH LOW AUTO AUTOMATIC MANUAL SEMIAUTOMATIC ON OFF TRUE
FALSE MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_PARTIAL_420 YBR_PARTIAL_422 YBR_ICT YBR_RCT XYB
IDENTITY INVERSE LINEAR LINEAR_EXACT SIGMOID LIN LOG DISP CONTINUOUS PULSED PULSE DV DI DF WSD SD SI DRW SYN
ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_13818_2 ISO_14496_10 ISO_23008_2 ISO_18181_1 COMPLETED DISCONTINUED
PARTIAL COMPLETE VERIFIED UNVERIFIED PRELIMINARY FINAL APPROVED UNAPPROVED REJECTED SCINTILLATOR STORAGE
PHOSPHOR FILM DIRECT GEOMETRY FIXED RECIPROCATING NONRECIPROCATING PARALLEL FOCUSED CROSSED RECTANGLE
CIRCULAR ROUND RECTANGULAR HEXAGONAL POLYGONAL STRIP WEDGE BUTTERFLY MULTIPLE FLAT ALUMINUM COPPER RHODIUM
MOLYBDENUM TUNGSTEN NIOBIUM EUROPIUM LEAD SILVER CARBON SE IR GR EP RM SK MTC MTP SS TRSS SP MP OSP DE PER
RG CG PPG FC PFF PFP CT VARIABLE 1D 2D 3D 4D SPIRAL SEQUENCED CONSTANT_ANGLE STATIONARY FREE ROTATION HELIX
CINE MODULATED XYZ_EC CW ATTN DECY SCAT DTIM MOTN DEAD RAN RADL NORM BQML CNTS PROPCNTS GML CM2ML HU START
ADMIN SCREENING DIAGNOSTIC SPECIMEN QUALITY QUALITY_CONTROL RESEARCH SITE PATIENT STUDY SERIES INSTANCE
FRAME ITEM ROI POINT POLYLINE POLYGON ELLIPSE CIRCLE ELLIPSOID MULTIPOINT INTERPOLATED PIXEL DISPLAY MATRIX
CLOSED_PLANAR OPEN_PLANAR OPEN_NONPLANAR BINARY FRACTIONAL LABELMAP PROBABILITY OCCUPANCY RIGID RIGID_SCALE
AFFINE PHYSICAL GEOMETRIC FIDUCIAL UNDEFINED INTERNAL EXTERNAL TEXT CODE NUM DATETIME DATE TIME UIDREF PNAME
COMPOSITE WAVEFORM CONTAINER SCOORD SCOORD3D TCOORD CONTAINS HAS INFERRED FROM SELECTED SEPARATE CONTINUOUS
HAS_OBS_CONTEXT HAS_ACQ_CONTEXT HAS_CONCEPT_MOD HAS_PROPERTIES INFERRED_FROM SELECTED_FROM DCMR MAGNITUDE
PHASE REAL IMAGINARY MODULUS T1 T2 PROTON_DENSITY DIFFUSION PERFUSION T2_STAR WATER FAT MONO STANDARD DETAIL
SMOOTH SHARP EDGE MINIP BRIGHTFIELD DARKFIELD TRANSMISSION REFLECTION EMISSION ABSORPTION REST STRESS
EXERCISE ADULT PEDIATRIC INFANT NEONATE ALTERED UNALTERED MODIFIED REMOVED UNMODIFIED ROW COL DIS2D ND
GRADIENT SPIN LONGITUDINAL TRANSVERSE FREE_PRECESSION RECTILINEAR RADIAL REVERSE_LINEAR CENTRIC SEGMENTED
SENSE GRAPPA SMASH ILEAVED PILS FULL SURFACE MULTICOIL BODY HEAD 1H 3HE 7LI 13C 19F 23NA 31P 129XE DB_DT
ELECTRIC_FIELD SLICE_SELECT SLICE_AND_FREQ FREQ ACCELERATION VELOCITY MONOCHROME COLOR TRUE_COLOR NRGY
PORTRAIT LANDSCAPE 18CMX24CM 24CMX30CM 30CMX35CM 30CMX40CM 35CMX35CM 35CMX43CM 8INX10IN 10INX12IN 11INX14IN
14INX14IN 14INX17IN WHITE BLACK FS SAT1 SAT2 PFF MU SEGMENT PRODUCT SECTOR_PHASED SECTOR_ANNULAR SERVICE
WHOLE EDGE_ENHANCED BREATH_HOLD RESPIRATORY CARDIAC REALTIME 00 01 GY RELATIVE PLAN FRACTION BEAM
CONTROL_POINT MULTI_PLAN BRACHY FRACTION_SESSION BEAM_SESSION EFFECTIVE ERROR ASYMX ASYMY X Y MLCX MLCY
ORGAN_AT_RISK TARGET TREATED_VOLUME IRRAD_VOLUME COORDINATES PREDECESSOR VERIFIED_PLAN CONCURRENT
REL_MASS_DENSITY REL_ELEC_DENSITY EFFECTIVE_Z EFF_Z_PER_A ELEM_FRACTION EXTERNAL GTV CTV PTV ORGAN AVOIDANCE
MARKER_SEED SUPPORT ISOCENTER CONTROL TREATMENT SETUP PHOTON ELECTRON NEUTRON CURATIVE PALLIATIVE LCSIGNED
MIN MAX TL BR CENTER GENERIC PIXELS MM MG ML
"""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


TERMS = frozenset(term.replace("|", " ") for term in _TERMS.split()) | {
    "PALETTE COLOR", "CURVED LINEAR", "AXIAL MODE", "HELICAL MODE", "SCREEN SAVE", "SCREEN CAPTURE",
    "HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS CONCEPT MOD",
    "HAS PROPERTIES", "INFERRED FROM", "SELECTED FROM", "STORAGE PHOSPHOR", "FOR PRESENTATION",
    "FOR PROCESSING", "ONE SIDED",
    "NOT_SPECIFIED", "COUNT RATE",
}  # fmt: skip

_ENGLISH = """
a abd abdomen abdominal and angio angiography ankle ap apical arm arterial axial bedside bilateral body bone
brain breast bucky cardiac cavity cervical chest clavicle contrast coronal cr cspine ct cta decubitus
delayed detail diaphragm digital dose dr dx elbow enhanced erect expiration extremity femur film finger
flair foot for forearm frontal full ge head heart high hip humerus hr hrct inspiration kidney knee kub l
lateral left leg liver localizer lordotic low lower lpo lspine lumbar lung lungs mandible mediastinum mip
mobile mpr mr mri neck non oblique orbit pa pediatric pelvis perfusion phase plain portable post pre prone
protocol r radiograph recon rib ribs right routine rpo sagittal scan scout screening se series shoulder
sinus sitting skull soft spine standard sternum supine t1 t2 thin thoracic thorax tissue topogram tspine
upper upright venous view views w weighted whole with without wo wrist x xray
"""
_VIETNAMESE = """
bụng chậu chụp cổ cột ngực nghiêng phim phổi sọ sống thẳng tim tiêm thuốc khớp xương đứng nằm ổ hàm mặt gối
vai lồng sườn lưng cản cắt lớp
"""
_DESCRIPTION = frozenset(_ENGLISH.split()) | frozenset(_VIETNAMESE.split())
_ONLY_AFTER = {"quang": ("x", "cản")}  # a given name too: only in "X quang" and "cản quang"
_WORD = re.compile(r"[^\W_]+")

_MANUFACTURERS = {
    "agfa": "Agfa", "canon": "Canon", "toshiba": "Toshiba", "carestream": "Carestream", "kodak": "Kodak",
    "drtech": "DRTECH", "fuji": "FUJIFILM", "fujifilm": "FUJIFILM", "ge": "GE", "general": "GE",
    "hitachi": "Hitachi", "hologic": "Hologic", "konica": "Konica Minolta", "minolta": "Konica Minolta",
    "mindray": "Mindray",
    "philips": "Philips", "samsung": "Samsung", "siemens": "Siemens", "shimadzu": "Shimadzu",
    "vieworks": "Vieworks", "varian": "Varian", "elekta": "Elekta", "rayence": "Rayence",
    "dk": "DK Medical", "listem": "Listem",
    "neusoft": "Neusoft", "united": "United Imaging", "vatech": "Vatech", "iray": "iRay",
}  # fmt: skip
_RESCALE_TYPES = _set("HU US OD MGML Z_EFF ED EDW HU_MOD PCT")
_KERNEL = re.compile(
    r"[BHDUJIQ][rvfpqwcs]?[0-9]{2}[sfhmp]?|FC[0-9]{2}|STANDARD|LUNG|BONE|BONEPLUS|SOFT|DETAIL|CHST|EDGE"
)
_ORIENTATION = re.compile(r"[APLRHF]{1,3}")


def clean_term(keyword: str, value: str) -> str | None:
    """A value of a coded string as it may stay, or None."""
    term = value.strip().upper()
    if term in TERMS or (keyword == "PatientOrientation" and _ORIENTATION.fullmatch(term)):
        return term
    return None


def clean_description(text: str) -> str:
    """What is left of a description: words of the list, upper case, in their order; may be ""."""
    words = _WORD.findall(unicodedata.normalize("NFC", text).casefold())
    kept = (
        word
        for before, word in zip(["", *words], words, strict=False)
        if word in _DESCRIPTION or before in _ONLY_AFTER.get(word, ())
    )
    return " ".join(kept).upper()[:64].strip()


def clean_text(keyword: str, text: str) -> str | None:
    """A short technical text that we know to be no more than that, or None."""
    if keyword == "Manufacturer":
        known = (_MANUFACTURERS.get(word) for word in _WORD.findall(text.replace(".", "").casefold()))
        return next((name for name in known if name), None)
    if keyword in ("RescaleType", "ModalityLUTType"):
        return text.strip() if text.strip() in _RESCALE_TYPES else None
    if keyword == "ConvolutionKernel":
        return text.strip() if _KERNEL.fullmatch(text.strip()) else None
    return None


def may_hold(keyword: str) -> bool:
    """Whether a text that would go as a whole may be held against the words first."""
    return keyword == "ConvolutionKernel"


def clean_code(value: str, scheme: str) -> str | None:
    """The meaning of a code in our own words, where the standard's context groups use it; else None.

    SRT, SNM3 and 99SDM are old names of SNOMED; their codes keep value and scheme.
    """
    value, scheme = value.strip(), scheme.strip()
    if scheme in ("SRT", "SNM3", "99SDM"):
        return _snomed_meaning(value)
    return _meanings(scheme).get(value)


@cache
def _meanings(scheme: str) -> dict[str, str]:
    from pydicom.sr.codedict import codes  # noqa: PLC0415  a quarter of a second, for who de-identifies only

    if scheme not in codes.schemes():
        return {}
    return {code.value: code.meaning for code in getattr(codes, scheme).concepts.values()}


@cache
def _snomed_meaning(value: str) -> str | None:
    from pydicom.sr.codedict import codes  # noqa: PLC0415
    from pydicom.sr.coding import Code  # noqa: PLC0415

    old = Code(value, "SRT", "")
    return next((code.meaning for code in codes.SCT.concepts.values() if code == old), None)
