"""The worker's sinks know what came from a PACS, and what it promised to hold."""

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.encoding.images import SC_IMAGE_STORAGE
from hoichan.intake.dataset import read_spooled
from hoichan.intake.files import take_in
from hoichan.reporting.deliveries import plan
from hoichan.settings import Settings
from hoichan.testing import a_film, a_report, as_bytes
from service.images import KnowsImages
from service.pacs import knowledge
from service.wiring import open_house
from service.wiring_receivers import sinks
from tests.integration.test_commitment_scu import Pacs
from tests.integration.test_images_known import COMPREHENSIVE_3D_SR


def test_a_house_sends_what_came_from_the_pacs_that_answers_no_questions(tmp_path):
    pacs = Pacs(contexts=(SC_IMAGE_STORAGE, COMPREHENSIVE_3D_SR))
    to = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": pacs.port, "ae_title": "PACS"}
    settings = Settings.model_validate({"storage": {"data_dir": tmp_path}, "destinations": [to]})
    house = open_house(settings)
    try:
        film = a_film("house")
        take_in(house.spool, as_bytes(film), calling_ae_title="PACS")
        (spooled,) = house.spool.listing(film.StudyInstanceUID)
        study = read_spooled(house.spool, spooled, settings.site.zone)
        house.studies.add_arrivals(study, study.instances)
        study = house.studies.assemble(study)
        report = a_report(study)
        documents = DocumentEncoder(house.spool, settings).encode(study, report)
        (delivery,) = plan(report, study, settings.destinations, documents, house.clock.now())
        house.studies.save(study, report=report, documents=documents, deliveries=[delivery])
        sink = sinks(settings, None, knowledge(house))["pacs"]
        assert isinstance(sink, KnowsImages) and sink.images_are_known(delivery, documents)
        assert sink.deliver(delivery, documents) == "0x0000"
        assert "images_known" in [line.event for line in house.studies.trail(study.study_instance_uid)]
    finally:
        house.engine.dispose()
        pacs.close()
