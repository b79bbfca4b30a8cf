#include "layers/kv_cache.h"

#include "tests/support/catch.h"
#include "tests/support/tensors.h"

using namespace moebius;
using layers::KvCache;

TEST_CASE("a cache lays new tokens behind the old ones of their sequence", "[layers][kv_cache]") {
  Arena<Space::host> memory("cache");
  const KvCache<HostFp32>::Shape shape{.layers = 2, .sequences = 3, .capacity = 4, .columns = 6};
  KvCache<HostFp32> cache(shape, memory);
  CHECK(memory.used_bytes() == KvCache<HostFp32>::bytes(shape));

  layers::DecodeStep step = cache.grow({2, 0, 1}, 4);
  CHECK(step.positions == std::vector<std::int32_t>{0, 1, 0, 0});
  CHECK(step.cache_rows == std::vector<std::int32_t>{0, 1, 8, -1});
  CHECK(step.query_starts == std::vector<std::int32_t>{0, 2, 2, 3});
  CHECK(step.key_starts == std::vector<std::int32_t>{0, 4, 8, 12});
  CHECK(step.key_counts == std::vector<std::int32_t>{2, 0, 1});

  step = cache.grow({1, 1, 0}, 2);
  CHECK(step.positions == std::vector<std::int32_t>{2, 0});
  CHECK(step.cache_rows == std::vector<std::int32_t>{2, 4});
  CHECK(step.key_counts == std::vector<std::int32_t>{3, 1, 0});
  CHECK(cache.length(0) == 3);
  CHECK_THROWS_WITH(cache.grow({2, 0, 0}, 2), "sequence 0 outgrows the cache of 4 tokens");
}
