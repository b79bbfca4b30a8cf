#include "data/batch/sampling.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fmt/format.h>
#include <numeric>
#include <span>

#include "base/error.h"
#include "tensor/random.h"

namespace moebius::data {
namespace {

std::vector<std::int64_t> counted(std::int64_t count) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

void shuffle(std::vector<std::int64_t>& values, const Random& random) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(i, i)]);
}

/// All of `rows` limit / n times over, then limit % n more: the first ones of a permutation, or of the file.
std::vector<std::int64_t> sample(const std::vector<std::int64_t>& rows, std::int64_t limit, Order order,
                                 const Random& random) {
  std::vector<std::int64_t> taken;
  taken.reserve(std::size_t(limit));
  const auto size = std::int64_t(rows.size());
  for (std::int64_t round = 0; round < limit / size; ++round)
    taken.insert(taken.end(), rows.begin(), rows.end());
  const auto rest = limit % size;
  std::vector<std::int64_t> extra = rows;
  if (order == Order::shuffled && rest > 0) shuffle(extra, random);
  taken.insert(taken.end(), extra.begin(), extra.begin() + rest);
  return taken;
}

}  // namespace

DatasetName parse_dataset_name(std::string_view text) {
  const std::string whole(text);
  const auto hash = whole.rfind('#');
  if (hash == std::string::npos || std::filesystem::exists(whole)) return {whole, 0};
  const std::string_view digits = text.substr(hash + 1);
  std::int64_t limit = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), limit);
  if (error != std::errc() || end != digits.data() + digits.size() || limit < 1) {
    throw UsageError(fmt::format("data: \"{}\": what follows '#' is a number of rows, 1 or more", whole));
  }
  return {whole.substr(0, hash), limit};
}

std::vector<std::int64_t> permutation(std::int64_t count, std::int64_t seed, std::uint32_t id) {
  auto order = counted(count);
  shuffle(order, {std::uint64_t(seed), RandomStream::shuffle, id});
  return order;
}

Split draw(std::int64_t count, std::int64_t limit, double validation_fraction, Order order,
           SamplingSeed seed) {
  const std::int64_t wanted = limit == 0 ? count : limit;
  if (count == 0) return {};
  const Random for_train{std::uint64_t(seed.seed), RandomStream::sampling, 2 * seed.dataset};
  const Random for_validation{std::uint64_t(seed.seed), RandomStream::sampling, 2 * seed.dataset + 1};
  if (validation_fraction == 0) return {sample(counted(count), wanted, order, for_train), {}};

  const auto held =
      std::max<std::int64_t>(std::int64_t(double(std::min(count, wanted)) * validation_fraction), 1);
  if (held >= count || held >= wanted) {
    throw InputError(
        fmt::format("data.validation_fraction = {}: of {} usable rows nothing is left to train on",
                    validation_fraction, count));
  }
  auto rows = counted(count);
  if (order == Order::shuffled) shuffle(rows, for_validation);
  if (order == Order::as_in_file) std::rotate(rows.begin(), rows.end() - held, rows.end());
  const auto cut = rows.begin() + held;
  std::vector<std::int64_t> rest(cut, rows.end());
  std::sort(rest.begin(), rest.end());
  return {sample(rest, wanted - held, order, for_train), {rows.begin(), cut}};
}

std::vector<std::int64_t> samples_of_rows(const std::vector<std::int64_t>& rows,
                                          const std::vector<std::int64_t>& starts) {
  std::vector<std::int64_t> samples;
  for (const std::int64_t row : rows) {
    for (std::int64_t i = starts[std::size_t(row)]; i < starts[std::size_t(row) + 1]; ++i)
      samples.push_back(i);
  }
  return samples;
}

}  // namespace moebius::data
