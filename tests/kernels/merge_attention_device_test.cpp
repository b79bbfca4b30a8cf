#include <limits>

#include "kernels/attention/merge_attention.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Normal;
using test::Placed;

namespace {

template <class T>
void check_case(Device& gpu, std::int64_t tokens, std::int64_t heads, std::int64_t head_dim) {
  CAPTURE(tokens, heads, head_dim, sizeof(T));
  const Normal<float, 2> y({tokens, heads * head_dim}, 1), log_sum_exp({tokens, heads}, 2);
  const Normal<T, 2> part(y.shape(), 3);
  const Normal<float, 2> of_part(log_sum_exp.shape(), 4);
  for (std::int64_t i = 0; i < of_part.count(); i += 3) of_part[i] = -std::numeric_limits<float>::infinity();
  const Placed<float, 2> device_y(y), device_log_sum_exp(log_sum_exp), device_of_part(of_part);
  const Placed<T, 2> device_part(part);
  test::make_ready(gpu);
  merge_attention(MergeAttention<float, Space::host>{.part = part.view(),
                                                     .part_log_sum_exp = of_part.view(),
                                                     .y = y.view(),
                                                     .log_sum_exp = log_sum_exp.view()});
  merge_attention(MergeAttention<T, Space::device>{.part = device_part.view(),
                                                   .part_log_sum_exp = device_of_part.view(),
                                                   .y = device_y.view(),
                                                   .log_sum_exp = device_log_sum_exp.view()},
                  gpu.queue());
  CHECK(test::relative_error(device_y.values(), y.values()) < 1e-6);
  CHECK(test::relative_error(device_log_sum_exp.values(), log_sum_exp.values()) < 1e-6);
}

}  // namespace

TEST_CASE("merge_attention on the device agrees with the host twin", "[kernels][attention][gpu]") {
  Device gpu(0);
  struct Sizes {
    std::int64_t tokens, heads, head_dim;
  };
  for (const Sizes sizes : {Sizes{1, 1, 1}, Sizes{37, 4, 128}, Sizes{9, 3, 7}, Sizes{500, 8, 64},
                            Sizes{0, 2, 16}, Sizes{12, 2, 256}}) {
    check_case<float>(gpu, sizes.tokens, sizes.heads, sizes.head_dim);
    check_case<bf16>(gpu, sizes.tokens, sizes.heads, sizes.head_dim);
  }
}
