"""The real thing behind every port: disk, database, PACS, EMR, ONNX Runtime, the work engine."""
