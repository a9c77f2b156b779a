"""A schema file is read as written, and its mistakes are named."""

import math

import pytest

from dicm_jax import errors
from dicm_jax.data import schema, schema_file

TEXT = """
[log]
label = "clicked"
user = "user_id"
time = "shown_at"
time_unit = "iso"

[split]
rule = "time"
test_from = 2026-01-31

[history]
window_days = 14

[[feature]]
name = "item"
column = "sku"
side = "ad"
kind = "id"
history = true

[[feature]]
name = "size"
side = "ad"
kind = "dense"
dimension = 2
"""


def load(tmp_path, text):
  path = tmp_path / "s.toml"
  path.write_text(text)
  return schema_file.load(path)


HASHED = 'kind = "id"\nvocabulary = "hash"\nbuckets = {}'
GOOD = TEXT.replace('"item"', '"sku_id"')


def test_values_are_those_of_the_file(tmp_path):
  found = load(tmp_path, GOOD)
  assert found.log.time_unit == "iso"
  assert math.isnan(found.log.positive_from)
  assert found.split.test_from_ms == 1769817600000
  assert found.history == schema.History(max_length=50, window_days=14.0)
  assert found.field("sku_id").column == "sku"
  assert found.field("size").column == "size"
  assert found.field("size").width == 2


def test_a_schema_is_written_and_read_back(tmp_path):
  found = load(tmp_path, GOOD)
  assert load(tmp_path, schema_file.to_toml(found)) == found
  assert schema_file.from_dict(schema_file.to_dict(found)) == found


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ('"sku_id"', '"item"', "feature 'item': expected a name"),
    ('"sku_id"', '"a b"', "feature 'a b': expected a name"),
    ('kind = "id"', 'kind = "ids2"', "unknown feature 'sku_id': kind 'ids2'"),
    ('side = "ad"', 'side = "item"', "unknown feature 'sku_id': side 'item'"),
    ('user = "user_id"\n', "", "[log]: key 'user' is missing"),
    ("[history]", "[historie]", "'historie'; did you mean 'history'"),
    ("window_days", "window_day", "'window_day'; did you mean 'window_days'"),
    ("window_days = 14", 'window_days = "x"', "expected float, found 'x'"),
    ("window_days = 14", "window_days = -1", "expected >= 0, found -1"),
    ("dimension = 2", "dimension = true", "dimension: expected int"),
    ("dimension = 2", "buckets = 5", "'size': expected buckets >= 1 with"),
    ('kind = "id"', HASHED.format(2**31 - 1), "buckets: expected <= 2,147,4"),
    (
      "dimension = 2",
      'vocabulary = "hash"\nbuckets = 5',
      "with 'hash' and kind 'dense'",
    ),
    ('kind = "id"', HASHED.format(5) + "\nmin_count = 2", "min_count expected"),
    ('kind = "id"', 'kind = "id"\ndimension = 3', "dimension expected with"),
    ('kind = "id"', 'kind = "id"\nmax_length = 3', "max_length expected with"),
    ('kind = "id"', 'kind = "id"\nmax_length = 9000000', "expected <= 1,000,0"),
    ('kind = "id"', 'kind = "ids"\nseparator = ""', "separator: expected a t"),
    ("dimension = 2", "min_count = 2", "min_count expected with kind id or i"),
    ('"sku_id"', '"_user"', "feature '_user': expected a name"),
    ('"sku_id"', '"history_sku"', "feature 'history_sku': expected a name"),
    ('user = "user_id"', 'user = ""', '[log] user: expected a text, found ""'),
    ('"clicked"', '""', "[log] label: expected a column"),
    (
      "test_from = 2026-01-31",
      "test_days = inf",
      "expected <= 36,525, found i",
    ),
    ("test_from = 2026-01-31", "test_days = nan", "expected test_days > 0"),
    ("window_days = 14", "window_days = 1e300", "expected <= 36,525"),
    ("window_days = 14", "window_days = nan", "expected >= 0, found nan"),
    ("window_days = 14", "max_length = 99999999", "expected <= 1,000,000"),
    ("dimension = 2", "weighted = true", "weighted = true expected with kind"),
    ("dimension = 2", "history = true", "history = true expected of an id"),
    ("test_from = 2026-01-31", "", "expected test_days > 0 or test_from"),
    ("2026-01-31", '"soon"', "expected an ISO date"),
    ('"time"', '"random"', "unknown [split] rule 'random'"),
    ('"size"', '"sku_id"', "feature 'sku_id' is listed twice"),
    (
      'kind = "dense"\ndimension = 2',
      'kind = "images"',
      "expected side 'user'",
    ),
    ("[history]", "[negatives]\nper_positive = 1\n[history]", "needs [items]"),
    ("window_days = 14", "min_dwell = 3.0", "needs a column [log] dwell"),
    ("[log]", "[log", "not a TOML file"),
  ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, old, new, message):
  assert old in GOOD
  with pytest.raises(errors.InputError) as caught:
    load(tmp_path, GOOD.replace(old, new, 1))
  assert str(caught.value).startswith(str(tmp_path / "s.toml"))
  assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(errors.InputError, match="No such file"):
    schema_file.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x = " + "[" * 5000, "not a TOML file"),
    ("x = " + "9" * 5000, "not a TOML file"),
    ("x." * 60_000, "not a TOML file: a line of more than 10,000 letters"),
    (GOOD.replace("= 14", f"= 1{'0' * 400}"), "window_days: expected float"),
    (GOOD.replace("sku_id", "n" * 101), "a name of 1 to 100 letters"),
  ],
)
def test_what_would_break_the_parser_is_named(tmp_path, text, message):
  with pytest.raises(errors.InputError, match=message):
    load(tmp_path, text)
