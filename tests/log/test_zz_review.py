from qflow import _core
from tests.log.logs import VKEY, open_log
from tests.log.test_prune import launder, recorded, cut_front

def run(path, state=None):
    return _core.verify_log(str(path), VKEY, None, known=(), state=state, keep=True)

def test_a_front_cut_without_a_record_is_found_by_a_run_that_goes_on(tmp_path):
    path = tmp_path / "log"
    segment, minimum, record = recorded(path)
    first = run(path)
    launder(path, segment, minimum, record - 1)
    seen = run(path, (first["state"], first["head"]))
    print(seen["started"], seen["whole"])
    assert seen["findings"]

def test_true_pruning_then_resumes(tmp_path):
    path = tmp_path / "log"
    segment, minimum, record = recorded(path)
    first = run(path)
    launder(path, segment, minimum, record)
    seen = run(path, (first["state"], first["head"]))
    print(seen["started"], seen["whole"])
    assert not seen["findings"]
    third = run(path, (seen["state"], seen["head"]))
    assert third["started"] and not third["findings"]
