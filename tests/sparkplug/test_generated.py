from schemas.protobuf import GENERATED, SCHEMAS, generate_protobuf


def test_generated_code_and_stubs_are_current(tmp_path):
    for file in generate_protobuf(tmp_path):
        committed = SCHEMAS / file.name
        assert committed.read_text() == file.read_text(), f"{committed} is old: run make generate"
    assert {path.name for path in tmp_path.iterdir()} == set(GENERATED)
