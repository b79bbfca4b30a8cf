#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Which rows take part, and in which order. Every draw comes from the counter-based generator, so the answer
/// depends on the seed alone, not on the number of ranks.
namespace moebius::data {

/// "file.jsonl#500" -> {"file.jsonl", 500}. A path that exists with its '#' is taken as it is.
struct DatasetName {
  std::string path;
  std::int64_t limit = 0;  // 0: all rows
  [[nodiscard]] bool is_synthetic() const { return path == "synthetic"; }
};
/// Throws UsageError where what follows the last '#' is not a number of 1 or more.
[[nodiscard]] DatasetName parse_dataset_name(std::string_view text);

struct SamplingSeed {
  std::int64_t seed;
  std::uint32_t dataset;  // number of the dataset in the job
};

enum class Order : std::uint8_t { as_in_file, shuffled };

/// The permutation of 0 .. count-1 that belongs to (seed, stream id) (Fisher-Yates).
[[nodiscard]] std::vector<std::int64_t> permutation(std::int64_t count, std::int64_t seed, std::uint32_t id);

struct Split {
  std::vector<std::int64_t> train, validation;
};
/// What `file#limit` takes of `count` samples, and what of them goes to validation (as ms-swift: with n =
/// count and N = limit, v = max(int(min(n, N) * fraction), 1) samples, drawn from the whole file; train
/// repeats only the rest). `Order::as_in_file` takes the first ones, and the last v for validation. Throws
/// InputError where v leaves nothing to train on.
[[nodiscard]] Split draw(std::int64_t count, std::int64_t limit, double validation_fraction, Order order,
                         SamplingSeed seed);

/// Rows of which some make several samples: row r makes those from starts[r] up to starts[r + 1], and starts
/// ends with the count of all. -> the samples of `rows`, in that order.
[[nodiscard]] std::vector<std::int64_t> samples_of_rows(const std::vector<std::int64_t>& rows,
                                                        const std::vector<std::int64_t>& starts);

}  // namespace moebius::data
