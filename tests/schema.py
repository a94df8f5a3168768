#!/usr/bin/python3
"""Holds the published JSON Schema against another validator's reading of it.

Every shipped scenario must pass; documents with one thing wrong in them must not. The schema is generated from the same
declarations as the reader, so only somebody else's validator can tell that it says what it should.
"""
import copy
import json
import pathlib
import sys
import tomllib

import jsonschema

root = pathlib.Path(__file__).resolve().parent.parent
schema = json.loads((root / "schema" / "scenario.schema.json").read_text())
validator_class = jsonschema.validators.validator_for(schema)
validator_class.check_schema(schema)
validator = validator_class(schema)
failed = False

scenarios = sorted((root / "scenarios").glob("*.toml"))
assert scenarios, "no scenario found"
for path in scenarios:
    for error in validator.iter_errors(tomllib.loads(path.read_text())):
        failed = True
        print(f"{path.name}: {error.json_path}: {error.message[:200]}")

good = tomllib.loads((root / "scenarios" / "redis-down.toml").read_text())


def wrong(what, change):
    """A document that a check must refuse."""
    global failed
    document = copy.deepcopy(good)
    change(document)
    if validator.is_valid(document):
        failed = True
        print(f"accepted: {what}")


wrong("an unknown table", lambda d: d.update(clinet={}))
wrong("an unknown key", lambda d: d["client"]["readers"].update(rat="1M/s"))
wrong("a rate without a unit", lambda d: d["client"]["readers"].update(rate="1M"))
wrong("a rate that is a list", lambda d: d["client"]["readers"].update(rate=["1M/s"]))
wrong("a span in unknown units", lambda d: d["run"].update(duration="26 fortnights"))
wrong("a missing key", lambda d: d["client"]["readers"].pop("rate"))
wrong("an unknown fault", lambda d: d["timeline"][0].update(fault="explode"))
wrong("an unknown sharding", lambda d: d["cache"]["redis"].update(sharding="rings"))
wrong("a key that is not a policy", lambda d: d.setdefault("protect", {}).update(braker={}))
wrong("an unknown setting of a policy", lambda d: d.setdefault("protect", {}).update(breaker={"failure": 5}))

print(f"{len(scenarios)} scenarios and 10 wrong documents: {'FAILED' if failed else 'as they should be'}")
sys.exit(failed)
