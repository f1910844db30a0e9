"""Two deployments for the tests of hooks: one that an alarm can start, one that wants more than it has."""

from prefect import flow, serve


@flow(name="retrain")
def retrain(slot: str, revision: int, features: list[str], reason: str, alarm: dict, dry: bool = True):
    assert alarm["slot"] == slot and alarm["revision"] == revision, alarm
    assert [feature["name"] for feature in alarm["features"]] == features, alarm
    assert features[0] in reason, reason


@flow(name="picky")
def picky(slot: str, region: str):
    raise AssertionError("never started")


if __name__ == "__main__":
    serve(retrain.to_deployment(name="prod"), picky.to_deployment(name="prod"))
