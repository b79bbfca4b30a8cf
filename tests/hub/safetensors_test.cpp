#include "hub/safetensors.h"

#include <array>
#include <numeric>
#include <set>

#include "base/bf16.h"
#include "base/error.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::hub;

namespace {

std::vector<float> counting(std::int64_t count) {
  std::vector<float> values(std::size_t(count), 0.0f);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

/// The slab element by element, by the definition of row-major order.
std::vector<float> expected_slab(const std::array<std::int64_t, 3>& shape, const models::Slab& slab) {
  std::vector<float> values;
  for (std::int64_t i = slab.ranges[0].begin; i < slab.ranges[0].end; ++i)
    for (std::int64_t j = slab.ranges[1].begin; j < slab.ranges[1].end; ++j)
      for (std::int64_t k = slab.ranges[2].begin; k < slab.ranges[2].end; ++k)
        values.push_back(float((i * shape[1] + j) * shape[2] + k));
  return values;
}

}  // namespace

TEST_CASE("every slab of a tensor is what its definition says", "[safetensors]") {
  const test::TemporaryFolder folder;
  const std::array<std::int64_t, 3> shape{3, 4, 5};
  test::write_bytes(folder / "a.safetensors",
                    test::safetensors_bytes({{"before", "F32", {2}, test::bytes_of(counting(2))},
                                             {"t", "F32", {3, 4, 5}, test::bytes_of(counting(60))}}));
  const SafetensorsFile file(folder / "a.safetensors");
  const TensorInfo* tensor = file.find("t");
  REQUIRE(tensor != nullptr);
  CHECK(tensor->shape == std::vector<std::int64_t>{3, 4, 5});
  CHECK(tensor->size() == 60);
  CHECK(file.find("u") == nullptr);
  const std::array<std::array<Range, 3>, 4> ranges{{{{{0, 3}, {0, 4}, {0, 5}}},
                                                    {{{1, 3}, {1, 3}, {2, 4}}},
                                                    {{{2, 3}, {3, 4}, {4, 5}}},
                                                    {{{0, 2}, {0, 4}, {1, 5}}}}};
  for (const auto& range : ranges) {
    const models::Slab slab{{range.begin(), range.end()}};
    std::vector<float> out(std::size_t(slab.size()), -1.0f);
    file.read(*tensor, slab, Dtype::float32, out.data());
    CHECK(out == expected_slab(shape, slab));
  }
  const models::Slab nothing{{{1, 1}, {0, 4}, {0, 5}}};
  file.read(*tensor, nothing, Dtype::float32, nullptr);
}

TEST_CASE("tensors longer than the window are read and converted in pieces", "[safetensors]") {
  const test::TemporaryFolder folder;
  const std::int64_t rows = 3, columns = 1'500'000;  // 6 MB a row of float32
  const std::vector<float> values = counting(rows * columns);
  test::write_bytes(folder / "a.safetensors",
                    test::safetensors_bytes({{"t", "F32", {rows, columns}, test::bytes_of(values)}}));
  const SafetensorsFile file(folder / "a.safetensors");
  const models::Slab slab{{{1, 3}, {7, columns - 5}}};
  std::vector<float> same(std::size_t(slab.size()));
  file.read(file.tensors()[0], slab, Dtype::float32, same.data());
  std::vector<bf16> rounded(std::size_t(slab.size()));
  file.read(file.tensors()[0], slab, Dtype::bfloat16, rounded.data());
  const std::int64_t width = slab.ranges[1].size();
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < slab.size(); ++i) {
    const float expected = values[std::size_t((1 + i / width) * columns + 7 + i % width)];
    wrong += same[std::size_t(i)] != expected || rounded[std::size_t(i)].bits != bf16(expected).bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("types that weights may have are read as float32, others are refused by name", "[safetensors]") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  test::write_bytes(path,
                    test::safetensors_bytes(
                        {{"bf16", "BF16", {2}, test::bytes_of(std::vector<std::uint16_t>{0x3f80, 0xc000})},
                         {"f16", "F16", {2}, test::bytes_of(std::vector<std::uint16_t>{0x3c00, 0xc000})},
                         {"f64", "F64", {2}, test::bytes_of(std::vector<double>{1, -2})},
                         {"f8", "F8_E4M3", {2}, "ab"},
                         {"i32", "I32", {1}, "abcd"},
                         {"scalar", "F32", {}, test::bytes_of(std::vector<float>{7})},
                         {"none", "F32", {0, 3}, ""}}));
  const SafetensorsFile file(path);
  const models::Slab slab{{{0, 2}}};
  for (const char* name : {"bf16", "f16", "f64"}) {
    CAPTURE(name);
    std::array<float, 2> out{};
    file.read(*file.find(name), slab, Dtype::float32, out.data());
    CHECK(out == std::array<float, 2>{1, -2});
  }
  float scalar = 0;
  file.read(*file.find("scalar"), {}, Dtype::float32, &scalar);
  CHECK(scalar == 7);
  file.read(*file.find("none"), {{{0, 0}, {0, 3}}}, Dtype::float32, nullptr);
  std::array<float, 2> out{};
  CHECK_THROWS_WITH(
      file.read(*file.find("f8"), slab, Dtype::float32, out.data()),
      path + ": tensor 'f8': F8_E4M3 cannot be read as float32; weights must be F32, BF16, F16 or F64");
  CHECK_THROWS_AS(file.read(*file.find("i32"), {{{0, 1}}}, Dtype::float32, out.data()), InputError);
}

namespace {

struct Malformed {
  std::string bytes;   // of the file
  std::string reason;  // what stands behind "<path>: "
};

std::string tensor_entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

/// A file with one tensor "t" as told, and 16 bytes of data.
std::string one_tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return test::safetensors_bytes(R"({"t":)" + tensor_entry(dtype, shape, offsets) + "}",
                                 std::string(16, 'x'));
}

std::string two_tensors(const std::string& offsets_a, const std::string& offsets_b) {
  return test::safetensors_bytes(R"({"a":)" + tensor_entry("F32", "[2]", offsets_a) + R"(,"b":)" +
                                     tensor_entry("F32", "[2]", offsets_b) + "}",
                                 std::string(16, 'x'));
}

const std::vector<Malformed>& malformed_files() {
  static const std::vector<Malformed> files{
      {"12345", "5 bytes are too few for a safetensors file"},
      {test::little_endian_8(1ull << 40) + std::string(64, 'x'),
       "by its first 8 bytes the header is 1099511627776 bytes long, but only 64 follow: the file is cut "
       "short or no "
       "safetensors file"},
      {test::little_endian_8(~0ull) + "{}",
       "by its first 8 bytes the header is 18446744073709551615 bytes long, but only 2 follow: the file is "
       "cut short "
       "or no safetensors file"},
      {test::safetensors_bytes("{\"t\": oops}", ""),
       "byte 14: no valid JSON: syntax error while parsing value - invalid literal; last read: '\"t\": o'"},
      {test::safetensors_bytes("{\"t\xff\": 1}", ""),
       "byte 11: no valid JSON: syntax error while parsing object key - invalid string: ill-formed UTF-8 "
       "byte; last "
       "read: '\"t\xff'; expected string literal"},
      {test::safetensors_bytes("[1]", ""), "byte 8: expected a JSON object, found array"},
      {test::safetensors_bytes(R"({"t":{},"t":{}})", ""), "the key \"t\" stands twice in one object"},
      {test::safetensors_bytes(R"({"t":{"dtype":"F32","dtype":"F16"}})", ""),
       "the key \"dtype\" stands twice in one object"},
      {test::safetensors_bytes(R"({"__metadata__":{"format":1}})", ""),
       "\"__metadata__\" is not an object of strings"},
      {test::safetensors_bytes(R"({"t":7})", ""), "tensor 't': is described by 7, not by an object"},
      {test::safetensors_bytes(R"({"t":{"dtype":"F32","shape":[]}})", ""),
       "tensor 't': has no \"data_offsets\""},
      {one_tensor("F33", "[4]", "[0,16]"), "tensor 't': dtype \"F33\" is unknown"},
      {one_tensor("F32", "[-4]", "[0,16]"),
       "tensor 't': \"shape\" has -4, which is no whole number from 0 to 2^63 - 1"},
      {one_tensor("F32", "[4.0]", "[0,16]"),
       "tensor 't': \"shape\" has 4.0, which is no whole number from 0 to 2^63 - 1"},
      {one_tensor("F32", "4", "[0,16]"), "tensor 't': \"shape\" is 4, not a list"},
      {one_tensor("F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]"), "tensor 't': has 9 dims; at most 8 are read"},
      {one_tensor("F32", "[4194305,4194305,211106198978564]", "[0,16]"),
       "tensor 't': shape [4194305, 4194305, 211106198978564] of F32 has more than 2^63 bits"},
      {one_tensor("F4", "[3]", "[0,16]"), "tensor 't': shape [3] of F4 is no whole number of bytes"},
      {one_tensor("F32", "[4]", "[16,0]"), "tensor 't': data_offsets [16, 0] are no begin and end"},
      {one_tensor("F32", "[4]", "[0,8,16]"), "tensor 't': data_offsets [0, 8, 16] are no begin and end"},
      {one_tensor("F32", "[4]", "[0,18446744073709551615]"),
       "tensor 't': \"data_offsets\" has 18446744073709551615, which is no whole number from 0 to 2^63 - 1"},
      {one_tensor("F32", "[2,2]", "[0,12]"),
       "tensor 't': data_offsets [0, 12] hold 12 bytes, but shape [2, 2] of F32 has 16"},
      {one_tensor("F32", "[3]", "[4,16]"),
       "tensor 't': begins at byte 4 of the data, but nothing before it ends at 0: there is a gap"},
      {one_tensor("F32", "[3]", "[0,12]"),
       "the tensors take 12 bytes, but 16 follow the header: there is something behind the last tensor"},
      {one_tensor("F32", "[5]", "[0,20]"),
       "the tensors take 20 bytes, but 16 follow the header: the file is cut short; fetch it again"},
      {two_tensors("[0,8]", "[4,12]"),
       "tensor 'b': begins at byte 4 of the data, but 'a' before it ends at 8: they overlap"},
      {two_tensors("[0,8]", "[0,8]"),
       "tensor 'b': begins at byte 0 of the data, but 'a' before it ends at 8: they overlap"},
      {two_tensors("[8,16]", "[16,24]"),
       "tensor 'a': begins at byte 8 of the data, but nothing before it ends at 0: there is a gap"},
  };
  return files;
}

}  // namespace

TEST_CASE("each malformed file is refused with its reason", "[safetensors]") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  for (const Malformed& malformed : malformed_files()) {
    test::write_bytes(path, malformed.bytes);
    CAPTURE(malformed.reason);
    CHECK_THROWS_WITH(SafetensorsFile(path), path + ": " + malformed.reason);
    CHECK_THROWS_AS(SafetensorsFile(path), InputError);
  }
}

TEST_CASE("no cut and no flipped bit of a header makes more than an InputError", "[safetensors]") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  const std::string good = test::safetensors_bytes(
      {{"a", "F32", {2, 3}, std::string(24, 'x')}, {"b", "BF16", {4}, std::string(8, 'y')}});
  test::write_bytes(path, good);
  REQUIRE_NOTHROW(SafetensorsFile(path));
  for (std::size_t length = 0; length < good.size(); ++length) {
    test::write_bytes(path, good.substr(0, length));
    CAPTURE(length);
    CHECK_THROWS_AS(SafetensorsFile(path), InputError);
  }
  int accepted = 0;
  for (std::size_t bit = 0; bit < (good.size() - 32) * 8; ++bit) {
    std::string flipped = good;
    flipped[bit / 8] = char(flipped[bit / 8] ^ (1 << bit % 8));
    test::write_bytes(path, flipped);
    try {
      const SafetensorsFile file(path);
      ++accepted;  // a flip in a name or in the metadata is a different, valid file
      REQUIRE(file.tensors().size() == 2);
    } catch (const InputError&) {
    }
  }
  CHECK(accepted < 200);
}
