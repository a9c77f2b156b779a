"""Eight simulated CPU devices for every test."""

import tempfile

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tests build the same small programs again and again, each from new functions:
# the cache on disk knows them by their text. It lasts as long as the tests.
_CACHE = tempfile.TemporaryDirectory(prefix="dicm_jax_tests_")
jax.config.update("jax_compilation_cache_dir", _CACHE.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
