"""Under which titles images come from a PACS that results go to."""

from hoichan.settings import Settings
from service.pacs import titles_of

SETTINGS = Settings.model_validate(
    {
        "destinations": [
            {"name": "pacs", "kind": "dicom", "host": "10.0.0.5", "port": 104, "ae_title": "PACS"},
            {"name": "web", "kind": "dicomweb", "url": "https://pacs.example/dicom-web"},
            {"name": "other", "kind": "dicom", "host": "10.0.0.6", "port": 104, "ae_title": "OTHER"},
        ],
        "sources": [
            {"name": "old", "kind": "dimse", "host": "10.0.0.5", "port": 104, "ae_title": "PACS"},
            {"name": "next", "kind": "dimse", "host": "10.0.0.7", "port": 104, "ae_title": "OTHER2"},
            {"name": "same", "kind": "dicomweb", "url": "https://pacs.example/dicom-web/"},
            {"name": "named", "kind": "dicomweb", "url": "https://pacs.example/dicom-web", "ae_title": "VNA"},
            {"name": "elsewhere", "kind": "dicomweb", "url": "https://other.example/dicom-web"},
        ],
    }
)


def test_a_pacs_is_known_by_its_own_title_and_as_the_source_of_its_address():
    pacs, web, other = SETTINGS.destinations
    assert titles_of(pacs, SETTINGS) == {"PACS"}
    assert titles_of(web, SETTINGS) == {"same", "VNA"}
    assert titles_of(other, SETTINGS) == {"OTHER"}
