#include "kernels/embedding/embedding.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::Normal;
using test::Placed;
using test::relative_error;
using test::Tensor;

namespace {

struct Sizes {
  std::int64_t tokens, vocab, hidden;
  std::int64_t vocab_begin = 0;
  std::int64_t offset = 0;  // numbers from aligned addresses
};

/// Every 7th id is none or of another rank; every 5th is the same one.
void choose_ids(const Sizes& sizes, const Tensor<std::int32_t, 1>& ids) {
  for (std::int64_t t = 0; t < sizes.tokens; ++t) {
    ids[t] = std::int32_t(sizes.vocab_begin + (t % 5 == 0 ? sizes.vocab / 2 : t * t % sizes.vocab));
    if (t % 7 == 6) ids[t] = t % 2 == 0 ? -1 : std::int32_t(sizes.vocab_begin + sizes.vocab);
    if (t % 49 == 6 && sizes.vocab_begin > 0) ids[t] = std::int32_t(sizes.vocab_begin - 1);
  }
}

template <class T>
void check_forward(Device& gpu, const Sizes& sizes) {
  const Normal<T, 2> table({sizes.vocab, sizes.hidden}, 1);
  const Tensor<std::int32_t, 1> ids({sizes.tokens});
  choose_ids(sizes, ids);
  const Tensor<float, 2> y({sizes.tokens, sizes.hidden});
  const Placed<T, 2> device_table(table, sizes.offset), device_y(y.shape(), sizes.offset);
  const Placed<std::int32_t, 1> device_ids(ids);
  test::make_ready(gpu);
  embedding_forward<float>(
      {.table = table.view(), .ids = ids.view(), .vocab_begin = sizes.vocab_begin, .y = y.view()});
  embedding_forward(EmbeddingForward<T, Space::device>{.table = device_table.view(),
                                                       .ids = device_ids.view(),
                                                       .vocab_begin = sizes.vocab_begin,
                                                       .y = device_y.view()},
                    gpu.queue());
  CHECK(device_y.template values<float>() == y.values());
}

template <class T, class G>
void check_backward(Device& gpu, const Sizes& sizes, Into into) {
  const Normal<T, 2> dy({sizes.tokens, sizes.hidden}, 2);
  const Normal<G, 2> dtable({sizes.vocab, sizes.hidden}, 3);
  const Tensor<std::int32_t, 1> ids({sizes.tokens});
  choose_ids(sizes, ids);
  const Placed<T, 2> device_dy(dy, sizes.offset);
  const Placed<G, 2> device_dtable(dtable.shape(), sizes.offset);
  const Placed<std::int32_t, 1> device_ids(ids);
  if (into == Into::add) device_dtable.put(dtable.values());
  test::make_ready(gpu);
  embedding_backward(EmbeddingBackward<T, Space::device, G>{.dy = device_dy.view(),
                                                            .ids = device_ids.view(),
                                                            .vocab_begin = sizes.vocab_begin,
                                                            .dtable = device_dtable.view(),
                                                            .into = into},
                     gpu.queue());
  embedding_backward(EmbeddingBackward<float, Space::host>{.dy = dy.view(),
                                                           .ids = ids.view(),
                                                           .vocab_begin = sizes.vocab_begin,
                                                           .dtable = dtable.view(),
                                                           .into = into});
  // The same additions in the same order: G = float has the same bits.
  if (sizeof(G) == 4) CHECK(device_dtable.template values<float>() == dtable.values());
  CHECK(relative_error(device_dtable.template values<float>(), dtable.values()) < kTolerance<G>);
}

const Sizes kSizes[] = {{1, 1, 1},           {300, 40, 24},   {300, 40, 24, 1000},
                        {300, 40, 24, 0, 1}, {64, 500, 2048}, {1000, 30, 520, 7},
                        {200, 17, 33, 5},    {5000, 3, 8},    {2, 3, 4104}};

}  // namespace

TEST_CASE("embedding on the device copies the rows of the table", "[kernels][embedding][gpu]") {
  Device gpu(0);
  for (const Sizes& sizes : kSizes) {
    CAPTURE(sizes.tokens, sizes.vocab, sizes.hidden, sizes.vocab_begin, sizes.offset);
    check_forward<float>(gpu, sizes);
    check_forward<bf16>(gpu, sizes);
  }
}

TEST_CASE("embedding backward on the device sums in token order", "[kernels][embedding][gpu]") {
  Device gpu(0);
  for (const Sizes& sizes : kSizes) {
    for (const Into into : {Into::add, Into::overwrite}) {
      CAPTURE(sizes.tokens, sizes.vocab, sizes.hidden, sizes.vocab_begin, sizes.offset, int(into));
      check_backward<float, float>(gpu, sizes, into);
      check_backward<bf16, float>(gpu, sizes, into);
      check_backward<bf16, bf16>(gpu, sizes, into);
    }
  }
}

TEST_CASE("embedding backward on the device without tokens", "[kernels][embedding][gpu]") {
  Device gpu(0);
  const Placed<float, 2> dtable({5, 8});
  test::make_ready(gpu);
  const EmbeddingBackward<float, Space::device> op{
      .dy = View<const float, 2, Space::device>(nullptr, {0, 8}),
      .ids = View<const std::int32_t, 1, Space::device>(nullptr, {0}),
      .vocab_begin = 0,
      .dtable = dtable.view(),
      .into = Into::overwrite};
  embedding_backward(op, gpu.queue());
  CHECK(dtable.values() == std::vector<float>(40, 0.0f));
}
