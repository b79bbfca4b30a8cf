#include "kernels/attention/append_rows.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Normal;
using test::Placed;
using test::Tensor;

namespace {

/// `width` columns from column `begin` of a wider matrix, into a cache of as many rows, backwards.
template <class T>
void check_case(Device& gpu, std::int64_t tokens, std::int64_t width, std::int64_t begin) {
  CAPTURE(tokens, width, begin, sizeof(T));
  const Normal<T, 2> x({tokens, width + begin + 8}, 1), cache({tokens, width}, 2);
  const Tensor<std::int32_t, 1> rows({tokens});
  for (std::int64_t t = 0; t < tokens; ++t) rows[t] = t % 3 == 1 ? -1 : std::int32_t(tokens - 1 - t);
  const Placed<T, 2> device_x(x), device_cache(cache);
  const Placed<std::int32_t, 1> device_rows(rows);
  test::make_ready(gpu);
  append_rows<float>({.x = Matrix<float, Space::host>(x.view()).column_block(begin, width),
                      .rows = rows.view(),
                      .cache = cache.view()});
  append_rows(AppendRows<T, Space::device>{.x = device_x.matrix().column_block(begin, width),
                                           .rows = device_rows.view(),
                                           .cache = device_cache.view()},
              gpu.queue());
  CHECK(device_cache.template values<float>() == cache.values());
}

}  // namespace

TEST_CASE("append_rows on the device agrees with the host twin", "[kernels][append_rows][gpu]") {
  Device gpu(0);
  struct Sizes {
    std::int64_t tokens, width, begin;
  };
  for (const Sizes sizes : {Sizes{1, 1, 0}, Sizes{1, 512, 64}, Sizes{37, 128, 8}, Sizes{37, 128, 3},
                            Sizes{9, 33, 0}, Sizes{5, 2048, 16}, Sizes{0, 8, 0}}) {
    check_case<float>(gpu, sizes.tokens, sizes.width, sizes.begin);
    check_case<bf16>(gpu, sizes.tokens, sizes.width, sizes.begin);
  }
}
