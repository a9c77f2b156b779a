"""Pictures of any size pass through bounded memory."""

import pathlib
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax.data import images
from dicm_jax.data.readers import pictures

READ = """
import pathlib, sys
import pyarrow as pa
from dicm_jax.data.readers import pictures
given = pictures.open_pictures(pathlib.Path(sys.argv[1]))
count = sum(1 for _ in given.read(set(given.keys())))
print(count, pa.default_memory_pool().max_memory())
"""


def test_a_large_group_of_rows_is_read_piece_by_piece(tmp_path):
  count, size = 150, 1 << 20
  table = pa.table(
    {
      "image_id": [f"k{i}" for i in range(count)],
      "image": pa.array([bytes(size)] * count, pa.binary()),
    }
  )
  path = tmp_path / "p.parquet"
  pq.write_table(
    table,
    path,
    compression="none",
    use_dictionary=False,
    row_group_size=count,
    write_batch_size=1,  # Pages of one picture: a page is read as a whole.
  )
  done = subprocess.run(
    [sys.executable, "-c", READ, str(path)],
    cwd=pathlib.Path(__file__).parents[3],
    capture_output=True,
    text=True,
    check=True,
  )
  found, most = map(int, done.stdout.split())
  assert found == count
  assert most < 80 << 20


def test_a_huge_file_is_read_no_further_than_needed(tmp_path):
  path = tmp_path / "huge.jpg"
  with path.open("wb") as file:
    file.truncate(3 << 30)  # A hole: it takes no room on the disk.
  ((key, data),) = pictures.open_pictures(tmp_path).read({"huge"})
  assert key == "huge"
  assert len(data) == images.MAX_BYTES + 1
