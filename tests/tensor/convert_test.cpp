#include "tensor/convert.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("every float16 keeps its bits through float32", "[convert]") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = float16_to_float(std::uint16_t(bits));
    if (std::isnan(value)) {
      REQUIRE(std::isnan(float16_to_float(float_to_float16(value))));
      continue;
    }
    REQUIRE(float_to_float16(value) == bits);
  }
}

TEST_CASE("float16 values and rounding, ties to even", "[convert]") {
  CHECK(float16_to_float(0x3c00) == 1.0f);
  CHECK(float16_to_float(0x0001) == 0x1p-24f);
  CHECK(float16_to_float(0x7bff) == 65504.0f);
  CHECK(float16_to_float(0xfc00) == -std::numeric_limits<float>::infinity());
  CHECK(float_to_float16(1.0f + 0x1p-11f) == 0x3c00);             // halfway: to even
  CHECK(float_to_float16(1.0f + 0x1p-11f + 0x1p-20f) == 0x3c01);  // above halfway
  CHECK(float_to_float16(1.0f + 0x1p-10f + 0x1p-11f) == 0x3c02);  // halfway: up to even
  CHECK(float_to_float16(65519.0f) == 0x7bff);
  CHECK(float_to_float16(65520.0f) == 0x7c00);
  CHECK(float_to_float16(0x1p-25f) == 0x0000);
  CHECK(float_to_float16(0x1.8p-25f) == 0x0001);
  CHECK(float_to_float16(std::nextafter(0x1p-14f, 0.0f)) == 0x0400);
}

TEST_CASE("bfloat16 and float64 convert as their values say", "[convert]") {
  const std::array<double, 4> in{1.0, -2.5, 1.0 + 0x1p-9, 3e38};
  std::array<bf16, 4> small;
  convert(Dtype::float64, in.data(), Dtype::bfloat16, small.data(), 4);
  std::array<float, 4> out;
  convert(Dtype::bfloat16, small.data(), Dtype::float32, out.data(), 4);
  CHECK(out[0] == 1.0f);
  CHECK(out[1] == -2.5f);
  CHECK(out[2] == 1.0f);
  CHECK(out[3] == test::Approx(3e38).epsilon(0.004));
}

TEST_CASE("equal types are copied bit for bit, integers are not converted", "[convert]") {
  const std::array<std::uint32_t, 2> signalling{0x7f80'0001u, 0x8000'0000u};
  std::array<std::uint32_t, 2> out{};
  convert(Dtype::float32, signalling.data(), Dtype::float32, out.data(), 2);
  CHECK(out == signalling);
  CHECK_THROWS_AS(convert(Dtype::int32, signalling.data(), Dtype::float32, out.data(), 2), std::logic_error);
}
