#include "tensor/arena.h"

#include <cmath>

#include "tensor/random.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("an arena hands out what was taken back", "[tensor][arena]") {
  Arena<Space::host> arena("test", 1024);
  const auto kept = arena.make<float>(10);
  float* reused = nullptr;
  {
    const ArenaScope<Space::host> scope(arena);
    reused = arena.make<float>(100).data;
  }
  CHECK(arena.make<float>(100).data == reused);
  CHECK(kept.data != reused);
  CHECK(arena.used_bytes() == 64 + 448);  // 40 and 400 bytes in steps of 64
  CHECK(arena.peak_bytes() == 64 + 448);
}

TEST_CASE("steps of changing sizes end in one chunk", "[tensor][arena]") {
  Arena<Space::host> arena("test", 64);
  for (std::int64_t step = 1; step <= 8; ++step) {  // each larger than all before
    const ArenaScope<Space::host> scope(arena);
    static_cast<void>(arena.make<float>(100 * step));
    static_cast<void>(arena.make<float>(50 * step));
  }
  const ArenaScope<Space::host> scope(arena);
  const auto first = arena.make<float>(800), second = arena.make<float>(400);
  CHECK(second.data == first.data + 800);  // 3200 bytes are a multiple of 64: side by side
}

TEST_CASE("an arena that gets no memory says for what", "[tensor][arena]") {
  Arena<Space::host> arena("weights", 1024);
  static_cast<void>(arena.make<float>(100));
  const std::string said =
      "no memory for another 1024 PiB of weights (448 B are in use); start more ranks or fewer on "
      "a node";
  CHECK_THROWS_WITH(arena.make<float>(std::int64_t{1} << 58), said);
  CHECK(arena.used_bytes() == 448);
}

TEST_CASE("random draws depend on seed, stream, tensor and index alone", "[tensor][random]") {
  const Random random{1, RandomStream::shuffle, 2};
  CHECK(random.bits(5) == Random{1, RandomStream::shuffle, 2}.bits(5));
  CHECK(random.bits(5) != random.bits(6));
  CHECK(random.bits(5) != Random{2, RandomStream::shuffle, 2}.bits(5));
  CHECK(random.bits(5) != Random{1, RandomStream::dropout, 2}.bits(5));
  double sum = 0, squares = 0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.normal(std::uint64_t(i));
    sum += value;
    squares += value * value;
    CHECK(random.below(7, std::uint64_t(i)) < 7);
  }
  CHECK(std::abs(sum / kDraws) < 0.03);  // 4 standard deviations of the mean of 20000 draws
  CHECK(squares / kDraws == test::Approx(1).margin(0.04));
}

// Known answers of Random123 (kat_vectors, philox4x32-10).
TEST_CASE("philox gives Random123's known answers", "[tensor][random]") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}
