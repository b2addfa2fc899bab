"""How long each form of a report takes to encode, without a network: p50 and p95 in milliseconds.

    python -m benches.encode --reports 200

The film is RG1 (a real chest film, 1,955 x 1,841); the report has a positive finding with a heat map,
others below their thresholds, and for the signed forms a review. The picture is drawn once for the forms that
hold it; its own time stands in the line `picture`.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from io import BytesIO

import numpy as np
from pydicom import config, dcmread

from hoichan import __version__
from hoichan.adapters.encoder import _caption, _film
from hoichan.encoding.fhir import encode_fhir
from hoichan.encoding.fhir_imr import encode_imr
from hoichan.encoding.gsps import encode_gsps
from hoichan.encoding.hl7 import encode_hl7
from hoichan.encoding.overlay import jpeg, plain_film, render
from hoichan.encoding.page import encode_page
from hoichan.encoding.page_signed import encode_signed_page
from hoichan.encoding.pdf import encode_pdf
from hoichan.encoding.sc import encode_sc
from hoichan.encoding.source import document_context
from hoichan.encoding.sr import COMPREHENSIVE_SR, ENHANCED_SR, encode_sr
from hoichan.reporting.signed import signed_report
from hoichan.settings import Hl7Destination, Site
from hoichan.testing import a_report, a_study
from hoichan.testing.reviews import a_review
from service.demo import films

RECEIVER = Hl7Destination(name="ris", kind="hl7v2", host="127.0.0.1", port=2575)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benches.encode", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reports", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        figures = measure(forms(), options.reports)
    if options.json:
        print(json.dumps(figures))
        return 0
    print(f"{options.reports} reports; milliseconds a report, and bytes")
    for name, one in figures.items():
        print(f"{name:20} p50 {one['p50']:8.1f}  p95 {one['p95']:8.1f}  {one['bytes']:>9,}")
    return 0


def measure(made: dict[str, Callable[[], bytes]], count: int) -> dict[str, dict[str, float]]:
    """Milliseconds and bytes of each form; the first of each warms caches up and does not count."""
    found = {}
    for name, encode in made.items():
        size = len(encode())
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            encode()
            taken.append((time.perf_counter() - began) * 1000)
        found[name] = {
            "p50": round(float(np.quantile(taken, 0.5)), 2),
            "p95": round(float(np.quantile(taken, 0.95)), 2),
            "bytes": size,
        }
    return found


def forms() -> dict[str, Callable[[], bytes]]:
    """Every form of one report, and those that only a signature makes."""
    source = dcmread(films()[0])
    study, site = a_study(source), Site()
    report = a_report(study)
    context = document_context(study, report, source=source, site=site, software_version=__version__)
    film = _film(source)
    picture = render(film, _caption(context))
    small = jpeg(picture)
    page = encode_page(context, _caption(context), small)
    review = a_review(report, study)
    signed = document_context(
        study,
        signed_report(report, review, study, time="08:32 20/11/2026"),
        source=source,
        site=site,
        software_version=__version__,
    )
    plain = plain_film(film) if film is not None else b""
    signed_page = encode_signed_page(signed, review, plain)
    bundle = encode_fhir(signed, site, b"", signed_page)

    def dicom(make: Callable[[], object]) -> Callable[[], bytes]:
        def write() -> bytes:
            stream = BytesIO()
            make().save_as(stream, enforce_file_format=True)  # type: ignore[attr-defined]
            return stream.getvalue()

        return write

    def draw() -> bytes:
        return render(film, _caption(context)).tobytes()

    return {
        "picture": draw,
        "sc": dicom(lambda: encode_sc(context, picture)),
        "sr (3D)": dicom(lambda: encode_sr(context)),
        "sr (comprehensive)": dicom(lambda: encode_sr(context, COMPREHENSIVE_SR)),
        "sr (enhanced)": dicom(lambda: encode_sr(context, ENHANCED_SR)),
        "gsps": dicom(lambda: encode_gsps(context)),
        "page": lambda: encode_page(context, _caption(context), small),
        "pdf": dicom(lambda: encode_pdf(context, page)),
        "fhir": lambda: encode_fhir(context, site, small),
        "hl7": lambda: encode_hl7(context, RECEIVER),
        "sr, signed": dicom(lambda: encode_sr(signed)),
        "page, signed": lambda: encode_signed_page(signed, review, plain),
        "fhir, signed": lambda: encode_fhir(signed, site, b"", signed_page),
        "imr, signed": lambda: encode_imr(signed, review, bundle),
        "hl7, signed": lambda: encode_hl7(signed, RECEIVER),
    }


if __name__ == "__main__":
    raise SystemExit(main())
