#include "data/batch/packing.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace moebius::data {
namespace {

constexpr std::size_t kWindow = 1000;

struct Item {
  std::int64_t sample, length;
};

struct Bin {
  std::vector<Item> items;
  std::int64_t used = 0;
};

/// Longest first, each into the fullest bin with room: `room` maps free tokens to bins, oldest first among
/// equals.
std::vector<Bin> best_fit(std::vector<Item> window, std::int64_t capacity) {
  std::stable_sort(window.begin(), window.end(),
                   [](const Item& a, const Item& b) { return a.length > b.length; });
  std::vector<Bin> bins;
  std::multimap<std::int64_t, std::size_t> room;
  for (const Item& item : window) {
    const auto found = room.lower_bound(item.length);
    std::size_t index = bins.size();
    if (found == room.end()) {
      bins.emplace_back();
    } else {
      index = found->second;
      room.erase(found);
    }
    bins[index].items.push_back(item);
    bins[index].used += item.length;
    room.emplace(capacity - bins[index].used, index);
  }
  return bins;
}

void close(const Bin& bin, Packs& packs) {
  for (const Item& item : bin.items) packs.samples.push_back(item.sample);
  packs.starts.push_back(std::int64_t(packs.samples.size()));
}

}  // namespace

std::span<const std::int64_t> Packs::pack(std::int64_t index) const {
  const std::int64_t begin = starts[std::size_t(index)], end = starts[std::size_t(index) + 1];
  return std::span(samples).subspan(std::size_t(begin), std::size_t(end - begin));
}

Packs unpacked(std::span<const std::int64_t> samples) {
  Packs packs;
  packs.samples.assign(samples.begin(), samples.end());
  packs.starts.resize(samples.size() + 1);
  std::iota(packs.starts.begin(), packs.starts.end(), 0);
  return packs;
}

Packs packed_best_fit(std::span<const std::int64_t> samples, std::span<const std::int64_t> lengths,
                      std::int64_t capacity) {
  Packs packs;
  std::vector<Item> window;
  for (std::size_t next = 0; next < samples.size();) {
    while (next < samples.size() && window.size() < kWindow) {
      window.push_back({samples[next], lengths[next]});
      ++next;
    }
    std::vector<Bin> bins = best_fit(std::move(window), capacity);
    window.clear();
    const auto emptiest = std::min_element(bins.begin(), bins.end(),
                                           [](const Bin& a, const Bin& b) { return a.used < b.used; });
    const bool last = next == samples.size();
    for (auto bin = bins.begin(); bin != bins.end(); ++bin) {
      if (last || bin != emptiest) close(*bin, packs);
    }
    // A bin that alone fills a window (capacity for more than 1000 samples) closes, so that every window
    // moves on.
    if (!last && emptiest->items.size() >= kWindow) close(*emptiest, packs);
    if (!last && emptiest->items.size() < kWindow) window = std::move(emptiest->items);
  }
  return packs;
}

}  // namespace moebius::data
